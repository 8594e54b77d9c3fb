"""A shop's domain events, made from the tables of TPC-H: `events` tells its history, `live_events` its present."""

from projector.tpch.live import live_events, shop_clock
from projector.tpch.timeline import EVENTS_PER_SCALE, events

__all__ = ["EVENTS_PER_SCALE", "events", "live_events", "shop_clock"]
