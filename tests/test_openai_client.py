"""The official `openai` client, unchanged: only base URL and key are told to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import openai
import pytest
from pydantic import BaseModel

from roads import USER_ID, Road, through_sidecar
from stack import loopback_client

TEXT = "Zażółć gęślą jaźń, 李雷: a few words that need more than one byte each."
CHAT_MODEL = "openai/gpt-5-mini"
MESSAGES: Any = [{"role": "user", "content": "What is a sidecar?"}]


@pytest.fixture
def client(road: Road) -> Iterator[openai.OpenAI]:
    """The client as its users make it. It may not retry: each call here is one call on the bill."""
    with openai.OpenAI(base_url=road.base_url, api_key=road.api_key, max_retries=0, timeout=60.0) as client:
        yield client


@pytest.fixture(autouse=True)
def answer(road: Road) -> Iterator[None]:
    """Lets the model say `TEXT`."""
    with road.simulator.knobs(content=TEXT):
        yield


def test_chat(road: Road, client: openai.OpenAI) -> None:
    with road.billed("chat/completions") as costs:
        completion = client.chat.completions.create(model=CHAT_MODEL, messages=MESSAGES)
    assert completion.choices[0].message.content == TEXT
    assert completion.usage and [_cost(completion.usage)] == costs


def test_streamed_chat(road: Road, client: openai.OpenAI) -> None:
    with road.billed("chat/completions") as costs:
        chunks = list(client.chat.completions.create(model=CHAT_MODEL, messages=MESSAGES, stream=True))
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == TEXT
    assert [_cost(chunk.usage) for chunk in chunks if chunk.usage] == costs


@through_sidecar
def test_chat_for_a_user(road: Road) -> None:
    """A client behind Open WebUI's headers is booked to that user."""
    headers = {
        "X-OpenWebUI-User-Id": USER_ID,
        "X-OpenWebUI-User-Name": quote("Zażółć 李雷", safe=" "),
        "X-OpenWebUI-User-Email": "zazolc@example.com",
        "X-OpenWebUI-User-Role": "user",
    }
    with openai.OpenAI(base_url=road.base_url, api_key=road.api_key, default_headers=headers, max_retries=0) as client:
        with road.billed("chat/completions"):
            client.chat.completions.create(model=CHAT_MODEL, messages=MESSAGES)
    assert road.daemon
    known = road.daemon.rows("SELECT name, email, role FROM users WHERE user_id = ?", USER_ID)
    assert known == [{"name": "Zażółć 李雷", "email": "zazolc@example.com", "role": "user"}]


def test_completion(road: Road, client: openai.OpenAI) -> None:
    with road.billed("completions"):
        completion = client.completions.create(model=CHAT_MODEL, prompt="A sidecar is")
    assert completion.choices[0].text == TEXT


def test_streamed_completion(road: Road, client: openai.OpenAI) -> None:
    with road.billed("completions"):
        chunks = list(client.completions.create(model=CHAT_MODEL, prompt="A sidecar is", stream=True))
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == TEXT


def test_response(road: Road, client: openai.OpenAI) -> None:
    with road.billed("responses") as costs:
        response = client.responses.create(model=CHAT_MODEL, input="What is a sidecar?")
    assert response.output_text == TEXT
    assert response.usage and [_cost(response.usage)] == costs


def test_streamed_response(road: Road, client: openai.OpenAI) -> None:
    with road.billed("responses"):
        events = list(client.responses.create(model=CHAT_MODEL, input="What is a sidecar?", stream=True))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == TEXT
    assert [event.response.output_text for event in events if event.type == "response.completed"] == [TEXT]


def test_embedding(road: Road, client: openai.OpenAI) -> None:
    with road.billed("embeddings"):
        answer = client.embeddings.create(model="openai/text-embedding-3-small", input=["one", "two"])
    assert [vector.index for vector in answer.data] == [0, 1]
    assert all(vector.embedding for vector in answer.data)


@through_sidecar
def test_image(road: Road, client: openai.OpenAI) -> None:
    """OpenAI's path for images is not OpenRouter's: the sidecar sends it upstream as /images."""
    with road.billed("images"):
        answer = client.images.generate(model="google/gemini-2.5-flash-image", prompt="A sidecar")
    assert answer.data and answer.data[0].b64_json


def test_speech(road: Road, client: openai.OpenAI) -> None:
    """Sound carries no usage: the cost is known only from `GET /generation`."""
    with road.billed("audio/speech"):
        answer = client.audio.speech.create(model="openai/gpt-4o-mini-tts", voice="alloy", input="A sidecar.")
    assert answer.content


def test_transcription(road: Road, client: openai.OpenAI) -> None:
    with road.billed("audio/transcriptions"):
        answer = client.audio.transcriptions.create(model="openai/whisper-1", file=("a.wav", b"RIFF" * 64))
    assert answer.text


def test_models(road: Road, client: openai.OpenAI) -> None:
    """Listed as OpenRouter lists them, and free."""
    with loopback_client(headers={"Authorization": f"Bearer {road.simulator.key}"}) as straight:
        offered = straight.get(f"{road.simulator.base_url}/models").raise_for_status().json()["data"]
    before = len(road.simulator.truth())
    assert [model.id for model in client.models.list()] == [model["id"] for model in offered]
    assert len(road.simulator.truth()) == before


def test_upstream_error(road: Road, client: openai.OpenAI) -> None:
    """OpenRouter's own words reach the client, and nothing is booked."""
    before = len(road.simulator.truth())
    with pytest.raises(openai.BadRequestError, match="example/no-such-model is not a valid model ID"):
        client.chat.completions.create(model="example/no-such-model", messages=MESSAGES)
    assert len(road.simulator.truth()) == before


def test_wrong_key(road: Road) -> None:
    with openai.OpenAI(base_url=road.base_url, api_key="sk-or-v1-" + "0" * 64, max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            client.chat.completions.create(model=CHAT_MODEL, messages=MESSAGES)
    assert isinstance(refused.value.body, dict) and refused.value.body["message"]


NOT_OFFERED: dict[str, Callable[[openai.OpenAI], Any]] = {
    "files": lambda client: client.files.list(),
    "batches": lambda client: client.batches.list(),
    "fine-tuning": lambda client: client.fine_tuning.jobs.list(),
    "moderations": lambda client: client.moderations.create(input="a", model="b"),
    "stored responses": lambda client: client.responses.retrieve("resp_1"),
}


@through_sidecar
def test_what_is_not_offered(road: Road, client: openai.OpenAI) -> None:
    with road.unseen():
        for name, ask in NOT_OFFERED.items():
            with pytest.raises(openai.NotFoundError) as refused:
                ask(client)
            assert isinstance(refused.value.body, dict) and refused.value.body["message"], name


def _cost(usage: BaseModel) -> Decimal:
    """OpenRouter's figure, which OpenAI's own types do not know and keep all the same."""
    return Decimal(repr(usage.model_dump()["cost"]))
