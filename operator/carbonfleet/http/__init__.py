"""HTTP to servers that answer in JSON: time-outs, bounded bodies, ETags, retries, rate limits, a circuit breaker."""

from carbonfleet.http.client import HttpAnswer, JsonClient, read_json
from carbonfleet.http.endpoint import Endpoint, Key
from carbonfleet.http.errors import HttpThrottled, HttpUnavailable

__all__ = ["Endpoint", "HttpAnswer", "HttpThrottled", "HttpUnavailable", "JsonClient", "Key", "read_json"]
