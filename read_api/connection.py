"""A connection as uvicorn has it, with an end to what is read of it before anybody knows who asks."""

import asyncio
import re

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from read_api.problems import Problem, other_method

MAX_HEAD = 131_072  # bytes of a request's first line and header fields: `boundary.MAX_URL`, a token, many positions
SECONDS_FOR_A_HEAD = 30.0  # from the connection on, or from the first byte of the next request
# RFC 9112, 3: any token is a method, where httptools knows some dozens
_OTHER_METHOD = re.compile(rb"(?!(?:GET|HEAD) )[!#-'*+.^-z|~A-Z0-9-]+ [!-~]+ HTTP/1\.[01]\r?\n")


class Connection(HttpToolsProtocol):
    """Refuses a head that is too long or comes too slowly: httptools would gather all that is sent, however much."""

    _head: int | None = 0  # bytes of a head that is not whole; None: its body is being read
    _begun = b""  # what came first of it
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless too much was read of one head."""
        if self.transport.is_closing():
            return
        if self._head == 0:
            self._begun = data
        self._head = None if self._head is None else self._head + len(data)
        super().data_received(data)
        if self._head and not self.transport.is_closing():
            self._wait()
            if self._head > MAX_HEAD:
                self._refuse(Problem(431, f"the header fields have more than {MAX_HEAD:,} bytes"))

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._head = None
        self._arrived()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """What comes now is the next head."""
        super().on_message_complete()
        self._head = 0

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP, or a method that httptools has not heard of."""
        other = _OTHER_METHOD.match(self._begun)
        self._refuse(other_method() if other else Problem(400, "this is no HTTP request"))

    def _wait(self) -> None:
        if self._late is None:
            problem = Problem(408, f"no whole request came in {SECONDS_FOR_A_HEAD:.0f} s")
            self._late = self.loop.call_later(SECONDS_FOR_A_HEAD, self._refuse, problem)

    def _arrived(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _refuse(self, problem: Problem) -> None:
        """Answer, unless another answer is under way, and close."""
        self._arrived()
        if self.cycle is None or self.cycle.response_complete:
            answer = problem.response()
            fields = [name + b": " + value for name, value in (*answer.raw_headers, (b"connection", b"close"))]
            head = b"\r\n".join([f"HTTP/1.1 {answer.status_code} ".encode(), *fields, b"", b""])
            self.transport.write(head + bytes(answer.body))
        self.transport.close()
