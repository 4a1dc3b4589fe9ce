"""A web server. It reads its configuration once, at its start, and is unhealthy if it cannot run so many workers."""

import http.server
import json
import sys

config = json.load(open(sys.argv[1]))
workers_max = int(sys.argv[2])
is_healthy = config["workers"] <= workers_max


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        is_good = is_healthy or self.path != "/health"
        self.send_response(200 if is_good else 503)
        self.end_headers()
        self.wfile.write(f"{config['name']} with {config['workers']} workers\n".encode())

    def log_message(self, *_):
        pass


address = (config["ip"], config["port"])
http.server.ThreadingHTTPServer(address, Handler).serve_forever()
