// Times, durations and scores the way a reader writes them: their language, their time zone.
// Absent values come out as a dash, never as "null" or "NaN".

const DASH = "–";
const DAY_AND_TIME = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const EXACT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const UNITS = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
  ["s", 1000],
  ["ms", 1],
];
const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

export function dayAndTime(iso) {
  return iso ? DAY_AND_TIME.format(new Date(iso)) : DASH;
}

export function day(iso) {
  return iso ? DAY.format(new Date(iso)) : DASH;
}

/** To the second, for those who look into what happened when. */
export function exactTime(iso) {
  return iso ? EXACT.format(new Date(iso)) : DASH;
}

/** `4200` → `4 s`; the largest unit that fits, rounded. */
export function span(ms) {
  if (!Number.isFinite(ms)) return DASH;
  const [unit, size] = UNITS.find(([, size]) => Math.abs(ms) >= size) ?? UNITS.at(-1);
  return `${Math.round(ms / size)} ${unit}`;
}

/** `612` → `10:12`, and `1:02:05` above an hour. */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return DASH;
  const whole = Math.max(0, Math.floor(seconds));
  const two = (n) => String(n).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** The same duration as words, for those who hear it. */
export function spokenDuration(seconds) {
  if (!Number.isFinite(seconds)) return "unknown";
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [
    [Math.floor(whole / 3600), "hour"],
    [Math.floor(whole / 60) % 60, "minute"],
    [whole % 60, "second"],
  ];
  const words = parts.filter(([n]) => n > 0).map(([n, unit]) => plural(n, unit));
  return words.join(" ") || "0 seconds";
}

export function plural(n, noun) {
  return `${n} ${noun}${n === 1 ? "" : "s"}`;
}

export function score(value) {
  return Number.isFinite(value) ? String(Math.round(value)) : DASH;
}

/** A call's headline score, or null: 0 is the vendor's way to say that there is none. */
export function headline(call) {
  const value = call?.score?.overallScore ?? call?.overallScore;
  return value > 0 ? value : null;
}

export function percent(value) {
  return Number.isFinite(value) ? `${Math.round(value)}%` : DASH;
}

/** The band a score falls in, as a word and a class: colour is never the only sign. */
export function band(value) {
  if (!Number.isFinite(value)) return { name: "none", word: "No score" };
  if (value >= 85) return { name: "strong", word: "Strong" };
  if (value >= 70) return { name: "good", word: "Good" };
  if (value >= 50) return { name: "fair", word: "Getting there" };
  return { name: "weak", word: "Needs work" };
}

/** `mobilityIssues` and `current_plan` → `Mobility issues`, `Current plan`. */
export function humanise(key) {
  const words = String(key)
    .replace(/([a-z0-9])([A-Z])/g, "$1 $2")
    .replace(/[_-]+/g, " ")
    .trim()
    .toLowerCase();
  return words.charAt(0).toUpperCase() + words.slice(1);
}
