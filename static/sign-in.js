// The demo's sign-in: pick a person or make one up. In production reps arrive signed in by your product
// and this form does not exist.

import { explain } from "./errors.js";
import { h } from "./dom.js";

const PEOPLE = [
  { user: "rep_8842", name: "Riley Chen", agency: "agency_chicago", role: "rep", about: "Rep, Chicago" },
  { user: "rep_2051", name: "Sam Ortiz", agency: "agency_chicago", role: "rep", about: "Rep, Chicago" },
  { user: "mgr_0117", name: "Morgan Lee", agency: "agency_chicago", role: "manager", about: "Manager, Chicago" },
  { user: "admin_01", name: "Ada Okafor", agency: null, role: "admin", about: "Admin, sees everyone" },
];

export function signInView(api, onSignedIn) {
  const problem = h("p", { class: "callout warn", role: "alert", hidden: true });

  async function signIn(person) {
    problem.hidden = true;
    try {
      await api.signIn(person);
      onSignedIn();
    } catch (error) {
      const words = explain(error);
      problem.textContent = `${words.title}. ${words.text}`;
      problem.hidden = false;
    }
  }

  return h(
    "div",
    { class: "view narrow" },
    h(
      "div",
      { class: "view-head" },
      h("h1", { tabindex: "-1" }, "Who are you today?"),
      h("p", { class: "lead" }, "This is the demo: sign in as anybody. Your product's own sign-in takes this place."),
    ),
    h(
      "ul",
      { class: "people" },
      PEOPLE.map(({ about, ...person }) =>
        h(
          "li",
          {},
          h(
            "button",
            { type: "button", class: "card person", onclick: () => signIn(person) },
            h("span", { class: "disc small", "aria-hidden": "true" }, person.name.split(" ").map((word) => word[0])),
            h("span", {}, h("strong", {}, person.name), h("span", { class: "quiet small block" }, about)),
          ),
        ),
      ),
    ),
    problem,
    somebodyElse(signIn),
  );
}

function somebodyElse(signIn) {
  const field = (name, label, attributes) => [
    h("label", { for: `demo-${name}` }, label),
    h("input", { id: `demo-${name}`, name, class: "field", type: "text", autocomplete: "off", spellcheck: "false", ...attributes }),
  ];
  return h(
    "details",
    { class: "card" },
    h("summary", {}, "Somebody else"),
    h(
      "form",
      {
        class: "form",
        onsubmit: (event) => {
          event.preventDefault();
          const entries = [...new FormData(event.target)].map(([key, value]) => [key, value.trim()]);
          signIn(Object.fromEntries(entries.filter(([, value]) => value)));
        },
      },
      field("user", "User id", { required: true }),
      field("name", "Name"),
      field("agency", "Agency"),
      h("label", { for: "demo-role" }, "Role"),
      h("select", { id: "demo-role", name: "role", class: "field" }, ["rep", "manager", "admin"].map((role) => h("option", { value: role }, role))),
      h("button", { type: "submit", class: "button primary" }, "Sign in"),
    ),
  );
}
