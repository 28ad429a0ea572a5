"""A real Open WebUI process, and its accounts as a browser or an API client would use them."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from stack import ROOT, TARGET, Program, loopback_client, wait_until

PYTHON = "/usr/bin/python3"
INSTALLED = TARGET / "open-webui"
# A `PYTHONPATH` to another one, of another version, that somebody installed himself.
SITE = os.environ.get("OPEN_WEBUI_SITE", str(INSTALLED))
PASSWORD = "a-password-for-loopback-only"
# The first start migrates an empty database; on two busy cores that took up to a minute.
READY_SECONDS = 240.0


@dataclass(frozen=True)
class Chat:
    """A chat as the browser knows it after it has sent a message."""

    chat_id: str
    task_ids: list[str]
    answer_id: str


class Account:
    """Somebody who is signed in."""

    def __init__(self, base_url: str, user_id: str, name: str, token: str) -> None:
        self.user_id = user_id
        self.name = name
        self.token = token
        self._http = loopback_client(base_url=base_url, headers={"Authorization": f"Bearer {token}"})

    def call(self, method: str, path: str, **options: Any) -> Any:
        """One request to Open WebUI, which must succeed."""
        answer = self._http.request(method, path, **options)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text[:2000]}"
        return answer.json()

    def send(self, model: str, text: str, after: Chat | None = None) -> Chat:
        """Types a message in the browser: the first of a new chat, or the next `after` another.

        Open WebUI answers at once and streams in the background. It also asks for a title and for tags (of a new
        chat) and for follow-up questions, which the user pays for just the same.
        """
        answer_id, message = str(uuid4()), {"role": "user", "content": text}
        body = {
            "stream": True,
            "model": model,
            "messages": [message],
            "params": {},
            "features": {},
            "variables": {},
            "session_id": f"session-{uuid4()}",
            "id": answer_id,
            "parent_id": after.answer_id if after else None,
            "user_message": {
                **message,
                "id": str(uuid4()),
                "parentId": after.answer_id if after else None,
                "childrenIds": [],
                "models": [model],
            },
            "background_tasks": {"follow_up_generation": True}
            | ({} if after else {"title_generation": True, "tags_generation": True}),
        }
        if after:
            body["chat_id"] = after.chat_id
        started = self.call("POST", "/api/chat/completions", json=body)
        return Chat(started["chat_id"], started["task_ids"], answer_id)

    def answer(self, chat: Chat) -> dict[str, Any]:
        """The answer as stored, finished or not."""
        stored = self.call("GET", f"/api/v1/chats/{chat.chat_id}")
        message: dict[str, Any] = stored["chat"]["history"]["messages"][chat.answer_id]
        return message

    def wait_answered(self, chat: Chat) -> str:
        """Waits for the end of the answer and returns its text."""
        return wait_until("the answer is stored", lambda: _finished(self.answer(chat)))

    def stop(self, chat: Chat) -> None:
        """The Stop button."""
        self.call("POST", f"/api/tasks/chat/{chat.chat_id}/stop")

    def ask(self, model: str, text: str) -> str:
        """A plain API call, whole."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": False}
        answer = self.call("POST", "/api/chat/completions", json=body)
        return str(answer["choices"][0]["message"]["content"])

    def ask_streamed(self, model: str, text: str) -> list[str]:
        """A plain API call, streamed: the `data` of its events."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": True}
        with self._http.stream("POST", "/api/chat/completions", json=body) as answer:
            assert answer.status_code == 200, answer.read()
            return [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")]

    def upload(self, name: str, text: str) -> str:
        """Attaches a file: Open WebUI embeds its pieces at once."""
        files = {"file": (name, text.encode(), "text/plain")}
        stored = self.call("POST", "/api/v1/files/?process_in_background=false", files=files)
        return str(stored["id"])


def _finished(message: dict[str, Any]) -> str | None:
    assert not message.get("error"), message["error"]
    return message.get("content") if message.get("done") else None


class OpenWebUi(Program):
    """Open WebUI from target/open-webui, all its model calls pointed at `base_url`."""

    def __init__(self, directory: Path, port: int, base_url: str, key: str, **settings: str) -> None:
        data = directory / "data"
        self.base_url = f"http://127.0.0.1:{port}"
        environment = {
            "PYTHONPATH": SITE,
            # Its own way to say "installed from the package": sets the version and where the page's files are.
            "FROM_INIT_PY": "true",
            "DATA_DIR": str(data),
            # Written to at each start; inside the installation it would be shared by all runs.
            "STATIC_DIR": str(directory / "static"),
            "WEBUI_SECRET_KEY": "a-secret-for-loopback-only-0123456789",
            "OFFLINE_MODE": "true",
            "HF_HUB_OFFLINE": "1",
            "ENABLE_OLLAMA_API": "false",
            "OPENAI_API_BASE_URL": base_url,
            "OPENAI_API_KEY": key,
            "ENABLE_FORWARD_USER_INFO_HEADERS": "true",
            "BYPASS_MODEL_ACCESS_CONTROL": "true",
            "RAG_EMBEDDING_ENGINE": "openai",
            "RAG_EMBEDDING_MODEL": "openai/text-embedding-3-small",
            "RAG_OPENAI_API_BASE_URL": base_url,
            "RAG_OPENAI_API_KEY": key,
            **settings,
        }
        # -s: the user's own packages stay out. One worker, as in Open WebUI's container.
        command = [PYTHON, "-s", "-m", "uvicorn", "open_webui.main:app", "--host", "127.0.0.1", "--port", str(port)]
        super().__init__("open-webui", command, environment, directory)

    def start(self) -> None:
        """Installs it if that was not done yet, starts it and waits until it is healthy."""
        if SITE == str(INSTALLED):
            subprocess.run([ROOT / "tests/open_webui/install.sh"], check=True, stdin=subprocess.DEVNULL)
        super().start()
        self.wait_ready(f"{self.base_url}/health", READY_SECONDS)

    def sign_up(self, name: str, email: str) -> Account:
        """The first account, which is the administrator's."""
        body = {"name": name, "email": email, "password": PASSWORD}
        return self._signed_in(httpx.post(f"{self.base_url}/api/v1/auths/signup", json=body, trust_env=False))

    def add(self, administrator: Account, name: str, email: str) -> Account:
        """A user whom the administrator adds, signed in."""
        body = {"name": name, "email": email, "password": PASSWORD, "role": "user"}
        administrator.call("POST", "/api/v1/auths/add", json=body)
        body = {"email": email, "password": PASSWORD}
        return self._signed_in(httpx.post(f"{self.base_url}/api/v1/auths/signin", json=body, trust_env=False))

    def _signed_in(self, answer: httpx.Response) -> Account:
        assert answer.is_success, answer.text
        session = answer.json()
        return Account(self.base_url, session["id"], session["name"], session["token"])
