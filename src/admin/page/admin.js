// The picture of a running daemon. Everything shown is built with textContent: names come from strangers.
"use strict";

const byId = (id) => document.getElementById(id);

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

const link = (hash, text) => element("a", text, { href: hash });

function row(...cells) {
  const made = element("tr");
  for (const cell of cells) {
    const td = element("td");
    td.append(cell instanceof Node ? cell : String(cell));
    made.append(td);
  }
  return made;
}

function definitions(list, pairs) {
  list.replaceChildren(...pairs.flatMap(([name, value]) => {
    const dd = element("dd");
    dd.append(value instanceof Node ? value : String(value));
    return [element("dt", name), dd];
  }));
}

function trouble(text) {
  const place = byId("trouble");
  place.hidden = !text;
  if (place.textContent !== (text || "")) place.textContent = text || "";
}

async function ask(path, options) {
  const response = await fetch(path, options);
  const body = await response.json();
  if (!response.ok) throw new Error(body.error || response.statusText);
  return body;
}

const rounded = (number, digits = 0) => number.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits });
const objectLink = (doid) => doid ? link(`#object/${doid}`, doid) : "none";

// ---- executors

let before = null;

function showExecutors(overview) {
  const identity = overview.identity;
  document.title = `donetd: ${identity.name}`;
  byId("title").textContent = identity.name;
  byId("identity").textContent = `donetd ${identity.version}${identity.id === null ? "" : `, id ${identity.id}`}, process ${identity.pid}, ` +
    `DC hash 0x${identity.dc_hash}, up ${rounded(overview.up_seconds)} s`;
  const total = (name) => overview.executors.reduce((sum, executor) => sum + executor[name], 0);
  definitions(byId("totals"), [["Clients", rounded(total("sessions_open"))], ["Links", rounded(total("links_open"))],
    ["Objects", rounded(total("objects"))], ["Channels", rounded(total("subscribed_channels"))]]);
  const seconds = before ? overview.up_seconds - before.up_seconds : overview.up_seconds;
  byId("executor-rows").replaceChildren(...overview.executors.map((executor) => {
    const earlier = before?.executors.find((other) => other.shard === executor.shard);
    const rate = (name) => (executor[name] - (earlier ? earlier[name] : 0)) / Math.max(seconds, 0.001);
    const busy = Math.min(100, rate("turns_us") / 1e4);
    const made = row(executor.shard, `${rounded(busy, 1)} %`, rounded(executor.sessions_open), rounded(executor.links_open),
      rounded(executor.objects), rounded(rate("datagrams_published")), rounded(rate("datagrams_delivered")),
      rounded(rate("bytes_received") / 1024, 1), rounded(rate("bytes_sent") / 1024, 1),
      `${executor.ring_batches_max}/${overview.ring_batches_limit}`, rounded(executor.slow_turns));
    made.children[1].className = "busy";
    made.children[1].style.backgroundSize = `${busy}% 100%`;
    return made;
  }));
  trouble(overview.phase !== "serving" ? `The daemon is ${overview.phase}: no new clients are admitted.` : overview.silent ? `${overview.silent} executors did not answer within two seconds.` : "");
  before = overview;
}

// ---- sessions

async function showSessions() {
  const sessions = await ask(`api/sessions?search=${encodeURIComponent(byId("session-text").value.trim())}`);
  byId("session-count").textContent = `${sessions.length} shown`;
  byId("session-rows").replaceChildren(...sessions.map((session) => row(link(`#session/${session.channel}`, session.channel),
    session.client_id, session.peer, session.state, session.interests, session.visible, session.owned, session.shard)));
}

async function showSession(channel) {
  const [session, overview] = await Promise.all([ask(`api/sessions/${channel}`), ask("api/overview")]);
  byId("session-title").textContent = `Session ${session.channel}`;
  definitions(byId("session-details"), [["Sends as", session.client_id], ["Address", session.peer], ["State", session.state],
    ["Sees", `${session.visible} objects`], ["Shard", session.shard]]);
  byId("session-interests").replaceChildren(...session.open_interests.map((interest) => {
    const item = element("li", `${interest.id}: in `);
    item.append(objectLink(interest.parent), ` zones ${interest.zones.join(", ")}`);
    return item;
  }));
  byId("session-owned").replaceChildren(...session.owned_objects.map((doid) => {
    const item = element("li");
    item.append(objectLink(doid));
    return item;
  }));
  for (const list of [byId("session-interests"), byId("session-owned")]) {
    if (!list.children.length) list.append(element("li", "none"));
  }
  byId("eject").hidden = !overview.may_change;
  byId("eject").dataset.channel = session.channel;
  byId("eject-result").textContent = "";
}

async function eject(event) {
  event.preventDefault();
  const result = byId("eject-result");
  try {
    await ask(`api/sessions/${byId("eject").dataset.channel}/eject`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${byId("eject-token").value}` },
      body: JSON.stringify({ code: Number(byId("eject-code").value), text: byId("eject-text").value }),
    });
    result.textContent = "The session has ended.";
  } catch (error) {
    result.textContent = `Not ejected: ${error.message}`;
  }
}

// ---- objects

async function showObjects() {
  const parents = await ask("api/parents");
  byId("parents").replaceChildren(...parents.map((doid) => {
    const item = element("li");
    item.append(objectLink(doid));
    return item;
  }));
}

async function showObject(doid) {
  const children = await ask(`api/objects/${doid}/children`);
  byId("object-title").textContent = `Object ${doid}`;
  try {
    const object = await ask(`api/objects/${doid}`);
    definitions(byId("object-details"), [["Class", object.class], ["Parent", objectLink(object.parent)], ["Zone", object.zone],
      ["AI", object.ai], ["Owner", object.owner], ["Shard", object.shard]]);
    byId("object-fields").replaceChildren(...object.fields.map(([name, value]) => row(name, value)));
  } catch (error) {
    // A parent need not live in this daemon.
    definitions(byId("object-details"), [["", error.message]]);
    byId("object-fields").replaceChildren();
  }
  const zones = new Map();
  for (const child of children) zones.set(child.zone, [...(zones.get(child.zone) || []), child]);
  byId("object-children").replaceChildren(...[...zones].map(([zone, inZone]) => {
    const details = element("details");
    if (zones.size === 1) details.open = true;
    details.append(element("summary", `Zone ${zone}: ${inZone.length} objects`));
    const list = element("ul");
    for (const child of inZone) {
      const item = element("li");
      item.append(objectLink(child.doid), ` ${child.class}`);
      list.append(item);
    }
    details.append(list);
    return details;
  }));
  if (zones.size === 0) byId("object-children").textContent = "none";
}

async function showLinks() {
  const links = await ask("api/links");
  byId("link-rows").replaceChildren(...links.map((one) => row(one.shard, one.connection, one.peer, one.name, one.url)));
}

// ---- views

const views = { links: showLinks, sessions: showSessions, session: showSession, objects: showObjects, object: showObject };

async function show(isNew) {
  const [name, argument] = location.hash.slice(1).split("/");
  const view = name in views ? name : "executors";
  const inMenu = { session: "sessions", object: "objects" }[view] || view;
  for (const section of document.querySelectorAll("section[data-view]")) section.hidden = section.dataset.view !== view;
  for (const entry of document.querySelectorAll("nav a")) {
    if (entry.hash === `#${inMenu}`) entry.setAttribute("aria-current", "page");
    else entry.removeAttribute("aria-current");
  }
  if (isNew) byId("main").focus({ preventScroll: true });
  try {
    trouble("");
    if (view !== "executors") await views[view](argument);
  } catch (error) {
    trouble(error instanceof TypeError ? "The daemon does not answer." : error.message);
  }
}

async function tick() {
  try {
    showExecutors(await ask("api/overview"));
  } catch {
    trouble("The daemon does not answer.");
  }
}

addEventListener("hashchange", () => show(true));
byId("session-search").addEventListener("submit", (event) => { event.preventDefault(); show(false); });
byId("object-search").addEventListener("submit", (event) => {
  event.preventDefault();
  location.hash = `#object/${Number(byId("object-doid").value)}`;
});
byId("eject").addEventListener("submit", eject);
setInterval(() => { if (!document.hidden) tick(); }, 1000);
tick();
show(false);
