"""What the page needs of an Open WebUI where no real one is needed: whose session a token is, and a page at `/`."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Person:
    """Somebody with an account, signed in."""

    user_id: str
    name: str
    email: str
    role: str = "user"

    @property
    def token(self) -> str:
        """What the cookie `token` holds in his browser."""
        return f"session-of-{self.user_id}"


class StandIn:
    """A server on a free port of loopback, with further `documents` by their path for what stands on other sites."""

    def __init__(self, people: list[Person]) -> None:
        accounts = {f"Bearer {person.token}": person for person in people}
        self.documents = {"/": "<!doctype html><title>Chat</title><h1>The chat application</h1>"}
        documents = self.documents

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                """`GET /api/v1/auths/` as both known versions answer it."""
                if self.path != "/api/v1/auths/":
                    document = documents.get(self.path)
                    return self.answer(404 if document is None else 200, document or "", "text/html; charset=utf-8")
                person = accounts.get(self.headers.get("Authorization", ""))
                if person is None:
                    return self.answer(401, json.dumps({"detail": "401 Unauthorized"}), "application/json")
                account = {"id": person.user_id, "name": person.name, "email": person.email, "role": person.role}
                return self.answer(200, json.dumps(account), "application/json")

            def answer(self, status: int, text: str, kind: str) -> None:
                body = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()
