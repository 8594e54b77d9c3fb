// What /metrics tells of the API process: Prometheus' text format, of which only counters are read.
import { ask } from "./api.js";

const LINE = /^(\w+)(?:\{([^}]*)\})? (\S+)/;

/** {requests, failed, seconds, searches, degraded}, counted since the process began; streams are left out. */
export async function requestsOf(signal) {
  const found = { requests: 0, failed: 0, seconds: 0, searches: 0, degraded: 0 };
  for (const line of (await (await ask("metrics", {}, { signal })).text()).split("\n")) {
    const [, name, labels = "", value] = LINE.exec(line) ?? [];
    if (!name || labels.includes("/changes\"")) continue;
    if (name === "prejoin_api_requests_total") {
      found.requests += Number(value);
      if (/status="5/.test(labels)) found.failed += Number(value);
    } else if (name === "prejoin_api_request_seconds_sum") found.seconds += Number(value);
    else if (name === "prejoin_api_searches_total") {
      found.searches += Number(value);
      if (labels.includes('degraded="true"')) found.degraded += Number(value);
    }
  }
  return found;
}
