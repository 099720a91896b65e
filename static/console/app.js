// The operator's page: who is here, which view the address asks for, and the frame around it. It holds no data of its
// own; the service refuses everybody but admins, whatever this page shows.

import { Api } from "../api.js";
import { configOf } from "../config.js";
import { explain } from "../errors.js";
import { h } from "../dom.js";
import { signInView } from "../sign-in.js";
import { auditView } from "./audit.js";
import { deliveryView } from "./delivery.js";
import { eventView } from "./event.js";
import { forwardingView } from "./forwarding.js";
import { inboxView } from "./inbox.js";
import { tokensView } from "./tokens.js";

const HOME = new URL("../..", import.meta.url);
const api = new Api({ base: HOME });
const main = document.getElementById("main");
const nav = document.getElementById("nav");
const who = document.getElementById("who");
const status = document.getElementById("status");

let config = { demo: false };
let me = null;
let leaveView = () => {};
let first = true;
/** Where "Inbox" and "Forwarding" lead back to: the list as it was filtered. */
let inbox = "#/";
let forwarding = "#/forwarding";

const VIEWS = [
  { path: /^#\/events\/(\d+)$/, title: "Event", show: ([, id]) => eventView(context(), id) },
  { path: /^#\/deliveries\/(\d+)$/, title: "Message", show: ([, id]) => deliveryView(context(), id) },
  { path: /^#\/forwarding(?:\?(.*))?/, title: "Forwarding", show: ([, query]) => forwardingView(context(), query ?? "") },
  { path: /^#\/tokens/, title: "Session tokens", show: () => tokensView(context()) },
  { path: /^#\/audit/, title: "Audit log", show: () => auditView(context()) },
  { path: /^(?:#\/(?:\?(.*))?)?/, title: "Inbox", show: ([, query]) => inboxView(context(), query ?? "") },
];

function context() {
  return { api, say: (text) => (status.textContent = text), fail, inbox, forwarding, demo: config.demo };
}

/** What a view cannot go on after: nobody is signed in any more, or no longer as an admin. */
function fail(error) {
  if (error?.signedOut) signedOut();
  else if (error?.code === "ADMIN_ONLY") forAdmins();
  else return false;
  return true;
}

function route() {
  if (!me) return;
  const view = VIEWS.find(({ path }) => path.test(location.hash));
  leaveView();
  const { element, leave } = view.show(view.path.exec(location.hash));
  leaveView = leave ?? (() => {});
  main.replaceChildren(element);
  document.title = `${view.title} · Console`;
  drawNav(view.title);
  if (!first) {
    scrollTo(0, 0);
    element.querySelector("h1")?.focus();
  }
  first = false;
}

function drawNav(title) {
  const link = (href, label, current) => h("a", { href, "aria-current": current ? "page" : null }, label);
  nav.replaceChildren(
    link("#/", "Inbox", title === "Inbox" || title === "Event"),
    link("#/forwarding", "Forwarding", title === "Forwarding" || title === "Message"),
    link("#/tokens", "Tokens", title === "Session tokens"),
    link("#/audit", "Audit", title === "Audit log"),
    link(HOME.href, "Practice", false),
  );
}

function drawWho() {
  const signOut = h("button", { type: "button", class: "button small", onclick: leaveDemo }, "Sign out");
  who.replaceChildren(h("span", { class: "who-name" }, me.name || me.rep), config.demo ? signOut : "");
}

async function leaveDemo() {
  await api.signOut().catch(() => {});
  location.reload();
}

function alone(...content) {
  leaveView();
  leaveView = () => {};
  me = null;
  nav.replaceChildren();
  main.replaceChildren(h("div", { class: "view narrow" }, content));
}

function notice(title, text, ...more) {
  return h("section", { class: "card" }, h("h1", { tabindex: "-1" }, title), h("p", {}, text), h("div", { class: "row notice-actions" }, more));
}

function signedOut() {
  who.replaceChildren();
  if (config.demo) return alone(signInView(api, start));
  const { title, text } = explain({ code: "UNAUTHENTICATED" });
  alone(notice(title, text, again()));
}

function forAdmins() {
  const other = h("button", { type: "button", class: "button", onclick: leaveDemo }, "Sign in as somebody else");
  alone(
    notice(
      "This page is for admins",
      "It shows the deliveries and calls of every rep. Your role does not allow that; ask whoever runs this service if it should.",
      h("a", { class: "button primary", href: HOME.href }, "To the practice page"),
      config.demo ? other : null,
    ),
  );
}

function again() {
  return h("button", { type: "button", class: "button primary", onclick: start }, "Try again");
}

async function start() {
  try {
    const [settings, caller] = await Promise.allSettled([configOf(api), api.me()]);
    if (settings.status === "rejected") throw settings.reason;
    config = settings.value;
    if (caller.status === "rejected") throw caller.reason;
    if (caller.value.kind !== "user") return alone(notice("This page is for people", "You came with a service token. Sign in as an admin."));
    me = caller.value;
    drawWho();
    if (me.role !== "admin") return forAdmins();
    first = true;
    route();
  } catch (error) {
    if (fail(error)) return;
    const { title, text } = explain(error);
    alone(notice(title, text, again()));
  }
}

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // Its address would be taken for a view.
  main.focus();
});
addEventListener("hashchange", ({ oldURL }) => {
  const { hash } = new URL(oldURL);
  if (/^#\/forwarding/.test(hash)) forwarding = hash;
  else if (/^#\/?(\?|$)/.test(hash) || !hash) inbox = hash || "#/";
  route();
});
start();
