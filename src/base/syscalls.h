/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system calls of a confined process, each declared by the file that makes it:
 *
 *     KILN__SYSCALLS(read, close, fcntl(1 = F_GETFL), connect(2 = 110))
 *
 * A file declares what it may call once its process has given up its rights; what it calls
 * before (to open, to spawn) it leaves out, since that is to be impossible then. A condition
 * names an argument, counted from 0, and its value, or its value under a mask: mmap(2 & 4 = 0);
 * several are separated by spaces and all must hold. What is declared twice, once without
 * a condition, is refused at build time: the condition would be void.
 *
 * The lists lie in a section of the object file that no process loads. A program with a filter is
 * linked twice: without it, then with the one that tools/seccomp-gen.c has made of the lists in the
 * first, which are those of exactly the files that the linker took. Macros are replaced, so that
 * constants go by name; enumerators and expressions do not.
 */
#ifndef KILN_BASE_SYSCALLS_H
#define KILN_BASE_SYSCALLS_H

#ifdef __ELF__
#define KILN__SYSCALLS(...) KILN__SYSCALLS_SECTION(__VA_ARGS__)
#define KILN__SYSCALLS_SECTION(...)                                                                \
	__asm__(".pushsection .kiln.syscalls,\"\",%progbits\n\t"                                   \
		".asciz \"" #__VA_ARGS__ "\"\n\t"                                                  \
		".popsection")
#else
#define KILN__SYSCALLS(...) _Static_assert(1, "no such filter on this system")
#endif

/*
 * Once in a confined program: what the run-time of a sanitizer calls besides, if it is built with
 * one: the memory of its shadow, its signal stack, and to describe what it has found. It looks for
 * leaks by stopping and tracing the process, which no filter allows, so not at all.
 */
#ifndef __has_feature
#define __has_feature(feature) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define KILN__SYSCALLS_OF_SANITIZERS                                                               \
	KILN__SYSCALLS(sigaltstack, readlink, readlinkat, sched_yield, gettid, getpid, write,      \
		       close);                                                                     \
	extern int __lsan_is_turned_off(void);                                                     \
	__attribute__((visibility("default"), used)) int __lsan_is_turned_off(void)                \
	{                                                                                          \
		return 1;                                                                          \
	}                                                                                          \
	_Static_assert(1, "")
#else
#define KILN__SYSCALLS_OF_SANITIZERS _Static_assert(1, "none")
#endif

#endif
