"""What the sidecar sees of an mAI: its health, real chats of its users, and whose session a token is."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BASE_URL = os.environ["OPENAI_API_BASE_URL"]
KEY = os.environ["OPENAI_API_KEY"]
# Tells which client's mAI answered, and no secret.
NAME = hashlib.sha256(KEY.encode()).hexdigest()[:12]
ADMIN = {"id": "admin-of-" + NAME, "name": "Ewa Admin", "email": "ewa@example.com", "role": "admin"}


def chat(asked: dict) -> tuple[int, str]:
    """Sends one chat completion as Open WebUI does, with the user in the headers."""
    user = asked["user"]
    body = {
        "model": asked["model"],
        "messages": [{"role": "user", "content": asked["question"]}],
        "stream": asked.get("stream", False),
    }
    headers = {
        "Authorization": f"Bearer {KEY}",
        "Content-Type": "application/json",
        "X-OpenWebUI-User-Id": user,
        "X-OpenWebUI-User-Name": user,
        "X-OpenWebUI-User-Email": f"{user}@example.com",
        "X-OpenWebUI-User-Role": "user",
    }
    request = urllib.request.Request(f"{BASE_URL}/chat/completions", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 599, str(error)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/health":
            return self.answer(200, {"status": True})
        if self.path == "/api/v1/auths/":
            known = self.headers.get("Authorization") == f"Bearer session-of-{NAME}"
            return self.answer(200, ADMIN) if known else self.answer(401, {"detail": "401 Unauthorized"})
        return self.answer(200, {"mai": NAME})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, text = chat(asked)
        return self.answer(200, {"status": status, "text": text})

    def answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


# As the first process of a container it would not be ended otherwise.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
