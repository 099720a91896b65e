// What we know about drills: a name and a line for each key of today's catalogue. The vendor adds keys
// without notice, so a key that is not here is still a drill, shown under its own name.

/** `setup`: the call starts in the middle, and the rep must know where before it connects. */
export const LINES = [
  {
    line: "Medicare Advantage",
    drills: [
      { key: "ma-full-sale", name: "Full sale", about: "From the greeting to the enrolment, the whole call." },
      { key: "ma-t65", name: "Turning 65", about: "A first-time buyer who is new to Medicare." },
      { key: "ma-objection-handling", name: "Objection handling", about: "A prospect with reasons to say no." },
      { key: "ma-needs-analysis", name: "Needs analysis", about: "Find out what matters before you recommend." },
      { key: "ma-sep-hunting", name: "SEP hunting", about: "Find a special enrolment period that applies." },
      { key: "ma-hhc", name: "Home health care", about: "The home health care conversation from its start." },
      {
        key: "ma-hhc-downsell",
        name: "HHC downsell",
        about: "Keep the sale with a smaller plan.",
        setup: "You have already offered home health care and the customer finds it too expensive. Take over there: offer the smaller plan.",
      },
      {
        key: "ma-hhc-crosssell",
        name: "HHC cross-sell",
        about: "Add home health care to a sale just made.",
        setup: "The customer has just agreed to a Medicare Advantage plan. Take over there: bring up home health care as an addition.",
      },
      {
        key: "ma-hhc-upsell",
        name: "HHC upsell",
        about: "Move the customer up to the fuller plan.",
        setup: "The customer has just accepted the basic home health care plan. Take over there: show what the fuller plan would add.",
      },
    ],
  },
  {
    line: "Medicare Supplement",
    drills: [{ key: "ms-full-sale", name: "Full sale", about: "A Medigap sale from start to close." }],
  },
  {
    line: "Final Expense",
    drills: [
      { key: "fe-full-sale", name: "Full sale", about: "A final expense sale from start to close." },
      { key: "fe-objection-handling", name: "Objection handling", about: "“I need to think about it”, and others." },
      { key: "fe-closing", name: "Closing", about: "Everything is said; ask for the decision." },
    ],
  },
  {
    line: "Under 65",
    drills: [{ key: "u65-full-sale", name: "Full sale", about: "Health cover for someone under 65." }],
  },
  {
    line: "Hospital Indemnity",
    drills: [
      { key: "hi-downsell", name: "Downsell", about: "Keep the sale with a smaller benefit." },
      { key: "hi-upsell", name: "Upsell", about: "Move up to the fuller benefit." },
      { key: "hi-crosssell", name: "Cross-sell", about: "Add hospital indemnity to a sale." },
    ],
  },
  {
    line: "Critical Illness",
    drills: [
      { key: "ci-downsell", name: "Downsell", about: "Keep the sale with a smaller benefit." },
      { key: "ci-upsell", name: "Upsell", about: "Move up to the fuller benefit." },
      { key: "ci-crosssell", name: "Cross-sell", about: "Add critical illness cover to a sale." },
    ],
  },
];

const KNOWN = new Map(LINES.flatMap(({ line, drills }) => drills.map((drill) => [drill.key, { ...drill, line }])));

/** Always answers: a key nobody has described yet is its own name. */
export function drill(key) {
  return KNOWN.get(key) ?? { key, name: key, line: null, about: "", setup: null };
}

/** `Medicare Advantage · Full sale`, for places where the line is not already said. */
export function fullName(key) {
  if (!key) return "Unknown drill";
  const { line, name } = drill(key);
  return line ? `${line} · ${name}` : name;
}

/** The catalogue, and under "More" the keys the loaded SDK knows and this file does not. */
export function catalogue(sdkKeys) {
  const more = sdkKeys.filter((key) => typeof key === "string" && !KNOWN.has(key));
  return more.length ? [...LINES, { line: "More", drills: more.map(drill) }] : LINES;
}

export const DIFFICULTIES = ["Beginner", "Advanced", "Elite"];

/** Where the persona lives, as the vendor's `filters.state` takes it. */
export const STATES =
  "AL AK AZ AR CA CO CT DE DC FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY".split(
    " ",
  );
