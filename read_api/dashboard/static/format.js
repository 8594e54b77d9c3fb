// How values are told: whole numbers, money, times and how long, in English and UTC, whatever the machine is set to.
const counts = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const regions = new Intl.DisplayNames("en", { type: "region", fallback: "code" });
const days = new Intl.DateTimeFormat("en", { day: "numeric", month: "short", timeZone: "UTC" });
const daysWithYear = new Intl.DateTimeFormat("en", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });

const NONE = "–";
export const count = (n) => (n === null || n === undefined ? NONE : counts.format(n));
export const compact = (n) => (n === null || n === undefined ? NONE : short.format(n));
export const share = (part, whole) => (whole ? `${((100 * part) / whole).toFixed(part && part / whole < 0.1 ? 1 : 0)} %` : NONE);

/** Money is a decimal string: grouped as text, so that no digit of a long amount is lost. */
export function money(amount, currency) {
  if (amount === null || amount === undefined) return NONE;
  const [, sign, whole, cents] = /^(-?)(\d+)(\.\d+)?$/.exec(String(amount)) ?? [];
  if (whole === undefined) return String(amount);
  const grouped = `${sign && "−"}${whole.replace(/\B(?=(\d{3})+$)/g, ",")}${cents ?? ""}`;
  return currency ? `${grouped} ${currency}` : grouped;
}

/** Cents as a BigInt, and back: sums of money stay exact. */
export const cents = (amount) => BigInt(String(amount).replace(".", ""));
export function fromCents(sum) {
  const text = String(sum < 0n ? -sum : sum).padStart(3, "0");
  return `${sum < 0n ? "-" : ""}${text.slice(0, -2)}.${text.slice(-2)}`;
}

export function country(code) {
  if (!code) return "not known yet";
  try {
    return regions.of(code);
  } catch {
    return code;
  }
}

/** 1998-08-02T10:04:05.123Z as `1998-08-02 10:04:05`. */
export const time = (text) => (text ? text.replace("T", " ").replace(/(\.\d+)?Z$/, "") : NONE);
export const clock = (text) => (text ? time(text).slice(11) : NONE);
export const day = (text) => days.format(new Date(`${text}T00:00:00Z`));
export const wholeDay = (text) => daysWithYear.format(new Date(`${text}T00:00:00Z`));

/** Seconds as the two greatest units: `0.4 s`, `12 s`, `3 min`, `5 h 12 min`, `42 d`, `6 y 120 d`. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return NONE;
  const s = Math.max(0, seconds);
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 90) return `${Math.round(s)} s`;
  if (s < 3_600) return `${Math.round(s / 60)} min`;
  if (s < 86_400) return two(s, 3_600, "h", 60, "min");
  if (s < 31_536_000) return two(s, 86_400, "d", 3_600, "h");
  return two(s, 31_536_000, "y", 86_400, "d");
}

function two(seconds, large, largeName, small, smallName) {
  const rest = Math.floor((seconds % large) / small);
  return `${Math.floor(seconds / large)} ${largeName}${rest ? ` ${rest} ${smallName}` : ""}`;
}

/** `awaiting_payment` as `awaiting payment`; of a value that is no word, its text. */
export const words = (value) => (value === null || value === undefined ? NONE : String(value).replaceAll("_", " "));
export const title = (value) => words(value).replace(/^./, (first) => first.toUpperCase());
