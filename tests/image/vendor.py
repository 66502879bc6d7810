# SPDX-License-Identifier: Apache-2.0
"""A vendor of cloud images on loopback: HTTPS by a certificate of an authority of its own."""
import http.server
import shutil
import ssl
import subprocess
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        vendor = self.server.vendor
        vendor.asked.append(self.path)
        if self.path.startswith("/image"):
            vendor.ranges.append(self.headers.get("Range"))
        answer = vendor.answers.get(self.path)
        if callable(answer):
            answer(self)
        elif answer is None:
            self.send_error(404)
        elif isinstance(answer, bytes):
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(answer.stat().st_size))
            self.end_headers()
            with answer.open("rb") as file:
                shutil.copyfileobj(file, self.wfile, 1 << 20)

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # clients that end early are part of it


class Vendor:
    """Answers are bytes, the path of a file, or a function of the handler; .base is its address, .authority the certificate to trust."""

    def __init__(self, directory):
        def openssl(*args):
            subprocess.run(["openssl", *args], cwd=directory, check=True, capture_output=True)
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        openssl("req", "-x509", *key, "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "3", "-subj", "/CN=test CA")
        openssl("req", *key, "-nodes", "-keyout", "key.pem", "-out", "req.pem", "-subj", "/CN=localhost")
        (directory / "ext").write_text("subjectAltName=DNS:localhost\n")
        openssl("x509", "-req", "-in", "req.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "3", "-extfile", "ext",
                "-out", "cert.pem")
        self.authority = directory / "ca.pem"
        self.answers, self.asked, self.ranges = {}, [], []
        self.server = Server(("localhost", 0), Handler)
        self.server.vendor = self
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.base = f"https://localhost:{self.server.server_address[1]}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()
