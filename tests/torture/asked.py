"""`prejoin verify` in the middle of it all: it may say that it cannot, but never that something drifted."""

import asyncio
import sys
from collections import Counter

from tests.process import environment_with
from tests.torture.failed import TortureFailed

SECONDS_TO_ANSWER = 300.0  # it waits for its turn behind batches as long as a backlog makes them, again and again
# What it may give up with under these faults.
CANNOT = {
    "prejoin: cannot connect to Postgres": "unreachable",
    "prejoin: Postgres (PREJOIN_DATABASE_URL) gave up": "gave up",
    "prejoin: the role of PREJOIN_DATABASE_URL may not do this": "read-only",
}


class Asked:
    """Asks, and counts the answers."""

    def __init__(self, settings: dict[str, str]) -> None:
        self._environment = environment_with() | settings
        self.answers: Counter[str] = Counter()

    async def verify(self) -> None:
        """Raise TortureFailed at any answer that is neither "no drift" nor a known reason to have none."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "projector.cli", "verify", "--all", "--json"), env=self._environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(SECONDS_TO_ANSWER):
                said, complaint = (part.decode(errors="replace") for part in await process.communicate())
        except TimeoutError:
            raise TortureFailed(f"verify has not answered in {SECONDS_TO_ANSWER:.0f} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        last = (complaint.splitlines() or [""])[-1]
        answer = next((name for start, name in CANNOT.items() if last.startswith(start)), None)
        if process.returncode == 0:
            answer = "no drift"
        elif process.returncode != 2 or answer is None:
            raise TortureFailed(f"verify ended with {process.returncode}, in the middle of it:\n{said}\n{complaint}")
        self.answers[answer] += 1
