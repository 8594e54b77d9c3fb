"""Transactions that come to nothing, among the shop's records: nobody may ever see what is in them."""

import asyncio
import random
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from tests.model.expand import cloud_event, identifier
from tests.model.streams import Raw, encoded
from tests.torture.plan import Plan

TRANSACTION = "torture"  # whoever begins under this name ends what was left open under it
TIMEOUT_MS = 10_000
MOST_RECORDS = 40
SECONDS_BETWEEN, SECONDS_OPEN, SECONDS_TO_ANSWER, SECONDS_TO_CLOSE = 1.0, 1.5, 10.0, 3.0
PASSING = (KafkaError, OSError, TimeoutError)


class Aborting:
    """Begins transactions, publishes in them what would do harm, and aborts; or loses Kafka in the middle of it."""

    def __init__(self, brokers: str, plan: Plan) -> None:
        self._brokers, self._plan = brokers, plan
        self._rng = random.Random(f"aborting {plan.seed}")
        self._producer: AIOKafkaProducer | None = None
        self.records = 0  # that Kafka had acknowledged

    async def run(self) -> None:
        """One after the other, until cancelled."""
        while True:
            try:
                await self._one(await self._begun())
            except PASSING:
                await self.close()
            await asyncio.sleep(self._rng.uniform(0, SECONDS_BETWEEN))

    async def finish(self) -> None:
        """Leave none open: it would hold up all that is behind it."""
        while True:
            await self.close()
            with suppress(*PASSING):
                await self._begun()
                return

    async def close(self) -> None:
        """Close the connection, whatever is under way."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(*PASSING):
                async with asyncio.timeout(SECONDS_TO_CLOSE):
                    await producer.stop()
            await producer.client.close()

    async def _begun(self) -> AIOKafkaProducer:
        """A producer whose former transactions are over."""
        if self._producer is None:
            self._producer = AIOKafkaProducer(
                bootstrap_servers=self._brokers,
                transactional_id=TRANSACTION,
                transaction_timeout_ms=TIMEOUT_MS,
                request_timeout_ms=TIMEOUT_MS,
            )
            async with asyncio.timeout(SECONDS_TO_ANSWER):
                await self._producer.start()
        return self._producer

    async def _one(self, producer: AIOKafkaProducer) -> None:
        raws = [self._harmful() for _ in range(self._rng.randint(1, MOST_RECORDS))]
        async with asyncio.timeout(SECONDS_TO_ANSWER):
            await producer.begin_transaction()
            partitions = [self._rng.randrange(self._plan.partitions) for _ in raws]
            sent = [
                _heard(await producer.send(raw.topic, raw.value, raw.key, partition, headers=[*raw.headers]))
                for raw, partition in zip(raws, partitions, strict=True)
            ]
            await asyncio.gather(*sent)
            self.records += len(sent)
            await asyncio.sleep(self._rng.uniform(0, SECONDS_OPEN))
            await producer.abort_transaction()

    def _harmful(self) -> Raw:
        """Applied, each would be seen: in a row that is there, in one more, or as a dead letter."""
        shop = self._rng.choice(self._plan.shops)
        customer = identifier(shop.first + self._rng.randrange(shop.customers))
        order = identifier(shop.first + self._rng.randrange(shop.orders))
        unheard = f"aborted-{self._rng.randrange(10**9)}"
        events = [
            cloud_event("customers.CustomerErased", customer_id=customer),
            cloud_event("customers.CustomerNameChanged", customer_id=customer, name=unheard),
            cloud_event("customers.CustomerErased", customer_id=unheard),
            cloud_event("orders.OrderCancelled", order_id=order, reason=unheard),
            cloud_event("payments.PaymentCaptured", payment_id=unheard, order_id=order, amount="1", currency="EUR"),
            cloud_event("inventory.StockReleased", order_id=order),
            cloud_event("catalog.Unheard", product_id=unheard),
        ]
        return encoded(self._rng.choice(events), unheard.encode())


def _heard(sent: asyncio.Future[Any]) -> asyncio.Future[Any]:
    """Of many that fail together one is told of; asyncio shall not complain of the others."""
    sent.add_done_callback(lambda its: its.cancelled() or its.exception())
    return sent
