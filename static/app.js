// The page: who is here, which view the address asks for, and the frame around it. The address holds
// a view's name and at most a call's id; whose calls a manager is looking at stays in the history state.

import "./practice.js";
import { Api } from "./api.js";
import { callView } from "./call-view.js";
import { configOf } from "./config.js";
import { explain } from "./errors.js";
import { h } from "./dom.js";
import { progressView } from "./progress.js";
import { signInView } from "./sign-in.js";
import { teamView } from "./team.js";

const api = new Api({ base: new URL("..", import.meta.url) });
const main = document.getElementById("main");
const nav = document.getElementById("nav");
const who = document.getElementById("who");
const status = document.getElementById("status");

let me = null;
let config = { demo: false };
let practice = null;
let leaveView = () => {};
let shown = null;

const VIEWS = [
  { path: /^#\/progress$/, title: "Your progress", show: () => progressView(context(), { rep: me.rep }) },
  { path: /^#\/team$/, title: "Your team", show: () => teamView(context()) },
  { path: /^#\/team\/rep$/, title: "Rep", show: () => progressView(context(), { rep: history.state?.rep ?? me.rep }) },
  { path: /^#\/calls\/([\w.~-]+)$/, title: "Call", show: ([, id]) => callView(context(), id) },
  { path: /^/, title: "Practice", show: practiceView },
];

function context() {
  return { api, me, say, open };
}

function say(text) {
  status.textContent = text;
}

/** Goes to a view; `state` is remembered with the entry but is not part of the address. */
function open(hash, state = null) {
  history.pushState(state, "", hash);
  route();
}

function practiceView() {
  practice = h("athos-practice");
  practice.addEventListener("athos-sign-in", (event) => {
    event.preventDefault();
    signedOut();
  });
  return {
    element: h(
      "div",
      { class: "view" },
      h(
        "div",
        { class: "view-head" },
        h("h1", { tabindex: "-1" }, "Practise a call"),
        h("p", { class: "lead" }, "Pick a drill, talk to a customer, get your score."),
      ),
      practice,
    ),
    leave: () => (practice = null),
  };
}

async function route() {
  if (!me) return;
  const here = location.hash || "#/";
  if (practice?.active && shown !== here) {
    const [target, state] = [here, history.state];
    history.pushState(null, "", shown);
    if (await confirmLeaving()) {
      practice = null; // It hangs up when the view that replaces it takes it off the page.
      open(target, state);
    }
    return;
  }
  const first = shown === null;
  shown = here;
  const view = VIEWS.find(({ path }) => path.test(here));
  leaveView();
  const { element, leave } = view.show(view.path.exec(here));
  leaveView = leave ?? (() => {});
  main.replaceChildren(element);
  document.title = view.title === "Practice" ? "Practice" : `${view.title} · Practice`;
  drawNav(here);
  if (!first) {
    scrollTo(0, 0);
    element.querySelector("h1")?.focus();
  }
}

function drawNav(here) {
  const links = [
    ["#/", "Practice"],
    ["#/progress", "Progress"],
    ...(me.role === "manager" || me.role === "admin" ? [["#/team", "Team"]] : []),
    ...(me.role === "admin" ? [["console", "Console"]] : []),
  ];
  nav.replaceChildren(
    ...links.map(([href, label]) => h("a", { href, "aria-current": isHere(href, here) ? "page" : null }, label)),
  );
}

function isHere(href, here) {
  return here === href || (href === "#/team" && here.startsWith("#/team/"));
}

/** A dialog of our own, as `beforeunload` does not speak for moves within the page. */
function confirmLeaving() {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog",
      { "aria-labelledby": "leave-title", onclose: () => (resolve(dialog.returnValue === "leave"), dialog.remove()) },
      h(
        "form",
        { method: "dialog" },
        h("h2", { id: "leave-title" }, "End the call and leave?"),
        h("p", {}, "You are on a call. Leaving this view ends it; it is still scored."),
        h(
          "div",
          { class: "row" },
          h("button", { class: "button primary", value: "stay", autofocus: true }, "Stay on the call"),
          h("button", { class: "button danger", value: "leave" }, "End call and leave"),
        ),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}

function drawWho() {
  who.replaceChildren(
    h("span", { class: "who-name" }, me.name || me.rep),
    config.demo
      ? h(
          "button",
          {
            type: "button",
            class: "button small",
            onclick: async () => {
              await api.signOut();
              location.assign("#/");
              location.reload();
            },
          },
          "Sign out",
        )
      : "",
  );
}

/** Nobody is signed in: the demo offers its form, a real deployment points back to the product. */
function signedOut() {
  leaveView();
  me = null;
  nav.replaceChildren();
  who.replaceChildren();
  const again = () => start();
  main.replaceChildren(config.demo ? signInView(api, again) : notice(explain({ code: "UNAUTHENTICATED" }), again));
}

function notice({ title, text, code, requestId }, again) {
  return h(
    "div",
    { class: "view narrow" },
    h(
      "section",
      { class: "card" },
      h("h1", { tabindex: "-1" }, title),
      h("p", {}, text),
      requestId ? h("p", { class: "quiet small code" }, `Code ${code} · request ${requestId}`) : null,
      h("button", { type: "button", class: "button primary", onclick: again }, "Try again"),
    ),
  );
}

async function start() {
  try {
    const [settings, caller] = await Promise.allSettled([configOf(api), api.me()]);
    if (settings.status === "rejected") throw settings.reason;
    config = settings.value;
    if (caller.status === "rejected") throw caller.reason;
    if (caller.value.kind !== "user") {
      main.replaceChildren(notice({ title: "This page is for people", text: "You came with a service token. Sign in as a rep or a manager." }, start));
      return;
    }
    me = caller.value;
    shown = null;
    drawWho();
    await route();
  } catch (error) {
    if (error.signedOut) signedOut();
    else main.replaceChildren(notice(explain(error), start));
  }
}

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // Its address would be taken for a view.
  main.focus();
});
addEventListener("hashchange", route);
start();
