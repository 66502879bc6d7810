# SPDX-License-Identifier: Apache-2.0
"""Child processes that die with this one, and get the descriptors they are given and no others."""
import ctypes
import os
import signal
import sys
import traceback

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


def libc():
    return _LIBC


class Child:
    def __init__(self, pid):
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.status = None

    def kill(self, sig=signal.SIGKILL):
        if self.status is None:
            signal.pidfd_send_signal(self.pidfd, sig)

    def wait(self):
        """Its exit code, or the negative number of the signal; blocks."""
        if self.status is None:
            _, status = os.waitpid(self.pid, 0)
            self.status = os.waitstatus_to_exitcode(status)
            os.close(self.pidfd)
        return self.status


def _become(program, argv, fds, environment):
    # Above all targets first, so that no target overwrites a source.
    high = {to: os.dup(fd) if fd >= 100 else _above(fd) for to, fd in fds.items()}
    for to, fd in high.items():
        os.dup2(fd, to, inheritable=True)
    for fd in high.values():
        os.close(fd)
    for sig in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(sig, signal.SIG_DFL)
    os.execve(program, argv, environment)


def _above(fd):
    import fcntl
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100)


def spawn(program, argv, fds, environment=None):
    """@program is a path or a descriptor. @fds maps the child's numbers to ours."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return Child(pid)
    try:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() == parent:  # which may have ended before that
            _become(program, argv, fds, dict(os.environ) if environment is None else environment)
    except OSError:
        traceback.print_exc(file=sys.stderr)
    finally:
        os._exit(127)
    return None
