"""Answers of a model with several adapters: one chat at a time, piece by piece as it is generated."""

import os
import queue
import threading
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from transformers import StoppingCriteria, StoppingCriteriaList, TextStreamer

from ..data import BadRow, Template, TextEncoder
from ..finished import Finished, load_adapters
from ..training import World

LONGEST_WAIT_SECONDS = 300.0
DEFAULT_TOKENS = 256


class ChatMessage(BaseModel):
    """One turn of a chat."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    role: Literal["system", "user", "assistant"]
    content: str


class ChatRequest(BaseModel):
    """The part of OpenAI's chat completion request that is heeded here."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    model: str
    messages: Annotated[tuple[ChatMessage, ...], Field(min_length=1, max_length=1000)]
    max_tokens: Annotated[int, Field(ge=1, le=100_000)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=100_000)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    stream: bool = False
    n: Literal[1] = 1

    @model_validator(mode="after")
    def _ends_with_a_question(self) -> "ChatRequest":
        if self.messages[-1].role == "assistant":
            raise ValueError("the last message must not be the assistant's")
        return self

    @property
    def tokens(self) -> int:
        """The most tokens of the answer."""
        return self.max_completion_tokens or self.max_tokens or DEFAULT_TOKENS


class Refused(Exception):  # noqa: N818  # an answer, not an error
    """A request that can't be served: OpenAI's code and a sentence."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(slots=True)
class Answer:
    """An answer in the making; iterate over `pieces` to its end, then the counts are right, or close them."""

    prompt_tokens: int
    pieces: Generator[str, None, None] = field(init=False)
    completion_tokens: int = 0
    finish_reason: Literal["stop", "length"] = "length"
    abandoned: threading.Event = field(default_factory=threading.Event)
    """Nobody listens any more."""


class Model:
    """A base with adapters, each of which answers under its own name; the base under its own too."""

    def __init__(self, outputs: Mapping[str, Finished]) -> None:
        """Load them. Raises `Failure`."""
        torch.set_num_threads(int(os.environ.get("LORA_THREADS") or torch.get_num_threads()))
        self._device = World.alone().device
        loaded = load_adapters(outputs, self._device)
        self._model, self._tokenizer = loaded.model, loaded.tokenizer
        self.base = next(iter(outputs.values())).settings.model
        every = sorted({token for tokens in loaded.end_tokens.values() for token in tokens})
        self._end_tokens = {self.base: every, **loaded.end_tokens}
        self.adapters = tuple(outputs)
        self._turn = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """What a request may ask for."""
        return (*self.adapters, *({self.base} - set(self.adapters)))

    def answer(self, request: ChatRequest) -> Answer:
        """Begin an answer. Raises Refused for an unknown model, and a chat too long or that the template refuses."""
        if request.model not in self.names:
            known = ", ".join(self.names)
            raise Refused(404, "model_not_found", f"no model {request.model[:100]} here; there is {known}")
        ids = torch.tensor([self._prompt(request)], device=self._device)
        remaining = self._model.config.max_position_embeddings - ids.shape[1]
        if remaining < 1:
            raise Refused(
                400, "context_length_exceeded", f"the chat has {ids.shape[1]} tokens, too many by {1 - remaining}"
            )
        answer = Answer(prompt_tokens=ids.shape[1])
        answer.pieces = self._pieces(request, ids, min(request.tokens, remaining), answer)
        return answer

    def _prompt(self, request: ChatRequest) -> list[int]:
        """The tokens of the turns, as in training: what people write holds no special tokens."""
        template = Template(self._tokenizer, datetime.now(UTC))
        encoder = TextEncoder(template)
        turns = [encoder.escaped(message.model_dump()) for message in request.messages]
        try:
            return encoder.ids(template.render(turns, None, ask=True))
        except BadRow as error:
            raise Refused(400, "invalid_request_error", str(error)) from error

    def _pieces(
        self, request: ChatRequest, ids: torch.Tensor, tokens: int, answer: Answer
    ) -> Generator[str, None, None]:
        if not self._turn.acquire(timeout=LONGEST_WAIT_SECONDS):
            raise Refused(503, "busy", "others are being answered; try again later")
        pieces: queue.Queue[str | BaseException | None] = queue.Queue()
        work = threading.Thread(target=self._generate, args=(request, ids, tokens, answer, pieces), daemon=True)
        work.start()
        try:
            while (piece := pieces.get()) is not None:
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:
            answer.abandoned.set()
            work.join()
            self._turn.release()

    def _generate(
        self,
        request: ChatRequest,
        ids: torch.Tensor,
        tokens: int,
        answer: Answer,
        pieces: "queue.Queue[str | BaseException | None]",
    ) -> None:
        try:
            if request.seed is not None:
                torch.manual_seed(request.seed)
            drawn = {"do_sample": True, "temperature": request.temperature, "top_p": request.top_p, "top_k": 0}
            with self._as(request.model), torch.no_grad():
                out = self._model.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=tokens,
                    pad_token_id=self._tokenizer.pad_token_id,
                    eos_token_id=self._end_tokens[request.model],
                    streamer=_TextQueue(self._tokenizer, pieces),
                    stopping_criteria=StoppingCriteriaList([_Abandoned(answer.abandoned)]),
                    **(drawn if request.temperature > 0 else {"do_sample": False}),
                )
            answer.completion_tokens = out.shape[1] - ids.shape[1]
            if int(out[0, -1]) in self._end_tokens[request.model]:
                answer.finish_reason = "stop"
            pieces.put(None)
        except BaseException as error:  # noqa: BLE001  # it belongs to whoever waits for the answer
            pieces.put(error)

    def _as(self, name: str) -> Any:  # noqa: ANN401  # PEFT is not typed for us
        """The model as one of its names."""
        if name not in self.adapters:
            return self._model.disable_adapter()
        self._model.set_adapter(name)
        return torch.no_grad()


class _TextQueue(TextStreamer):  # type: ignore[misc]
    """Puts text into a queue as soon as it is whole words."""

    def __init__(self, tokenizer: Any, pieces: "queue.Queue[str | BaseException | None]") -> None:  # noqa: ANN401
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._pieces_out = pieces

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """See TextStreamer."""
        if text:
            self._pieces_out.put(text)


class _Abandoned(StoppingCriteria):  # type: ignore[misc]
    """Stops when nobody listens."""

    def __init__(self, abandoned: threading.Event) -> None:
        self._abandoned = abandoned

    def __call__(self, input_ids: torch.Tensor, _scores: Any, **_more: Any) -> torch.Tensor:  # noqa: ANN401
        """See StoppingCriteria."""
        return torch.full((input_ids.shape[0],), self._abandoned.is_set(), device=input_ids.device)
