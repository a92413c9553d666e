
"use strict";

const told = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const body = document.querySelector("tbody");
const PORTION = 200; // rows
const collator = new Intl.Collator(undefined, { numeric: true });
const classes = told.task.kind === "classes";
const span = classes ? 1 : told.task.high - told.task.low;
const shown = { run: told.runs[0], sort: "error", falling: true, rows: [], open: -1 };

// --- elements: text is set as text, so markup in names and transcripts stays what was written ---

function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") made.className = value;
    else if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

const words = (text) => element("bdi", { textContent: text });
const written = (value) => (value === null || value === undefined ? "none" : typeof value === "number" ? signed(value) : value);
const signed = (value) => (value > 0 ? "+" : "") + String(Number(value.toFixed(2)));

// --- what a clip is in the run that is shown ---

const answer = (clip) => clip.answers[shown.run];

function error(clip) {
  const prediction = answer(clip).prediction;
  if (classes) return prediction === clip.label ? 0 : 1;
  return prediction === null || clip.label === null ? span : Math.abs(prediction - clip.label);
}

function sureness(clip) {
  const { prediction, shares } = answer(clip);
  if (!shares.length) return null;
  if (!classes) return Math.max(...shares.map(([, share]) => share));
  const found = shares.find(([name]) => name === prediction);
  return found ? found[1] : null;
}

const COLUMNS = [
  { key: "picture", title: "", cell: (clip) => (clip.thumbnail ? element("img", { src: clip.thumbnail, alt: "" }) : "") },
  { key: "name", title: "clip", value: (clip) => clip.id, cell: (clip) => words(clip.id) },
  { key: "label", title: "label", number: !classes, value: (clip) => clip.label, cell: (clip) => written(clip.label) },
  { key: "prediction", title: "prediction", number: !classes, value: (clip) => answer(clip).prediction,
    cell: (clip) => written(answer(clip).prediction) },
  { key: "error", title: "error", value: error, cell: errorCell },
  { key: "sure", title: classes ? "how sure" : "likeliest label", number: true, value: sureness,
    cell: (clip) => (sureness(clip) === null ? "" : percent(sureness(clip))) },
  { key: "words", title: "words", value: (clip) => clip.text || clip.heard, cell: (clip) => words(clip.text || clip.heard) },
  { key: "remarks", title: "remarks", value: (clip) => clip.flags.join(", "),
    cell: (clip) => element("span", {}, ...clip.flags.map((flag) => element("span", { class: "flag", textContent: flag }))) },
];

const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;

function errorCell(clip) {
  const size = error(clip);
  if (classes) return size ? "wrong" : "right";
  const bar = element("span", { class: "size" });
  bar.style.width = `${Math.max(1, (70 * size) / span)}px`;
  return element("span", {}, bar, answer(clip).prediction === null ? "no answer" : size.toFixed(2));
}

// --- the table ---

function kept() {
  const search = byId("search").value.trim().toLowerCase();
  const label = byId("label").value;
  const least = Number(byId("least").value) || 0;
  const flagged = byId("flagged").checked;
  return told.clips.filter((clip) => {
    const text = `${clip.id}\n${clip.text}\n${clip.heard}`.toLowerCase();
    const fits = !label || (classes ? clip.label === label : Math.sign(clip.label) === Number(label));
    return text.includes(search) && fits && error(clip) >= least && (!flagged || clip.flags.length > 0);
  });
}

function ordered(clips) {
  const { value } = COLUMNS.find((column) => column.key === shown.sort);
  const sign = shown.falling ? -1 : 1;
  const absent = (found) => found === null || found === undefined || found === "";
  const compare = (a, b) => (typeof a === "number" ? a - b : collator.compare(a, b));
  return clips
    .map((clip) => [value(clip), clip])
    .sort(([a, left], [b, right]) => {
      if (absent(a) || absent(b)) return absent(a) - absent(b);
      return sign * compare(a, b) || compare(left.id, right.id);
    })
    .map(([, clip]) => clip);
}

function heads() {
  const row = document.querySelector("thead tr");
  row.replaceChildren(
    ...COLUMNS.map((column) => {
      const head = element("th", { scope: "col", class: column.number ? "number" : "" });
      if (!column.value) return head;
      const button = element("button", { type: "button", textContent: column.title });
      button.addEventListener("click", () => {
        shown.falling = shown.sort === column.key ? !shown.falling : column.key === "error" || Boolean(column.number);
        shown.sort = column.key;
        draw();
        document.querySelector(`th[data-key="${column.key}"] button`).focus();
      });
      head.dataset.key = column.key;
      head.append(button);
      if (shown.sort === column.key) head.setAttribute("aria-sort", shown.falling ? "descending" : "ascending");
      return head;
    }),
  );
}

function draw() {
  shown.rows = ordered(kept());
  heads();
  body.replaceChildren();
  rowAt(0);
  scrollTo(0, 0);
  byId("nothing").hidden = shown.rows.length > 0;
  byId("summary").textContent = summary();
}

/** The row of a clip; rows are made in portions, as far down as they are asked for: a few thousand take seconds. */
function rowAt(index) {
  const made = body.children.length;
  if (index >= made) {
    const wanted = shown.rows.slice(made, (Math.floor(index / PORTION) + 1) * PORTION);
    body.append(...wanted.map((clip, place) => rowOf(clip, made + place)));
  }
  return body.children[index];
}

function rowOf(clip, index) {
  const cells = COLUMNS.map((column) =>
    element("td", { class: column.number ? "number" : column.key }, column.cell(clip)));
  const row = element("tr", { tabIndex: index ? -1 : 0 }, ...cells);
  row.setAttribute("aria-label", clip.id);
  row.addEventListener("click", () => open(index));
  return row;
}

function summary() {
  const errors = shown.rows.map(error);
  const mean = errors.reduce((sum, one) => sum + one, 0) / (errors.length || 1);
  const count = `${shown.rows.length} of ${told.clips.length} test clips`;
  if (!errors.length) return count;
  return `${count}, ${classes ? `${errors.filter((one) => one).length} wrong` : `mean error ${mean.toFixed(2)}`}`;
}

function move(row, step) {
  const next = rowAt(Math.min(Math.max([...body.children].indexOf(row) + step, 0), shown.rows.length - 1));
  if (!next) return;
  row.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

// --- one clip ---

function open(index) {
  const clip = shown.rows[index];
  if (!clip) return;
  shown.open = index;
  byId("name").replaceChildren(words(clip.id));
  byId("clip").replaceChildren(...details(clip));
  byId("before").disabled = index === 0;
  byId("after").disabled = index === shown.rows.length - 1;
  const dialog = document.querySelector("dialog");
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

function details(clip) {
  const left = [recording(clip), ...said(clip)];
  const middle = [element("h3", { textContent: "answers" }), runs(clip), ...shares(clip)];
  const right = [element("h3", { textContent: "measured" }), list(clip.measured)];
  if (clip.flags.length || clip.message) {
    right.push(element("h3", { textContent: "remarks" }), COLUMNS.at(-1).cell(clip), element("p", {}, words(clip.message)));
  }
  const parts = [left, middle, right].map((part) => element("div", {}, ...part));
  const axis = clip.picture
    ? element("img", { class: "axis", src: clip.picture, alt: `time axis of ${clip.id}: pictures, sound, words, descriptors, face` })
    : element("p", { class: "hint" }, "No time axis was drawn for this clip: ", element("code", { textContent: command(clip) }));
  return [element("div", { class: "columns" }, ...parts), axis];
}

const command = (clip) => `mse show '${clip.id.replaceAll("'", "'\\''")}' --corpus ${told.corpus}`;

function recording(clip) {
  if (!clip.media) return element("p", { class: "hint", textContent: "There is no recording to play." });
  const [from, to] = clip.window;
  const player = element(clip.thumbnail ? "video" : "audio", { controls: true, preload: "none" });
  if (clip.thumbnail) player.poster = clip.thumbnail;
  player.src = `${clip.media}#t=${to > from ? `${from},${to}` : from}`;
  const place = element("div", {}, player);
  player.addEventListener("error", () => {
    place.append(element("p", { class: "hint" }, "Not to be played here; it should lie at ", words(decodeURI(clip.media))));
  });
  return place;
}

function said(clip) {
  const parts = [];
  if (clip.text) parts.push(element("h3", { textContent: "words" }), element("p", {}, words(clip.text)));
  if (clip.heard && clip.heard !== clip.text) {
    parts.push(element("h3", { textContent: "words as they were recognised" }), element("p", {}, words(clip.heard)));
  }
  return parts;
}

const list = (rows) => element("dl", {}, ...rows.flatMap(([name, value]) =>
  [element("dt", { textContent: name }), element("dd", {}, value)]));

function runs(clip) {
  const rows = told.runs.map((run) => {
    const { prediction, answer: wrote } = clip.answers[run];
    const unread = prediction === null && wrote ? element("span", {}, "none, but wrote ", words(wrote)) : written(prediction);
    return [run, unread];
  });
  return list([["label", element("b", { textContent: written(clip.label) })], ...rows]);
}

function shares(clip) {
  const likely = answer(clip).shares;
  if (!likely.length) return [];
  if (!classes) {
    const title = `how likely each label is (${shown.run}; orange: the true one)`;
    return [element("h3", { textContent: title }), chances(clip, likely)];
  }
  const rows = likely.flatMap(([name, share]) => [
    element("span", { class: name === clip.label ? "true" : "", textContent: name }),
    element("meter", { min: 0, max: 1, value: share, title: percent(share) }),
    element("span", { textContent: percent(share) }),
  ]);
  return [
    element("h3", { textContent: `how likely each class is (${shown.run})` }),
    element("div", { class: "shares" }, ...rows),
  ];
}

const WIDE = 360, HIGH = 120, FOOT = 18; // of the drawing

function drawn(name, attributes, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

/** A bar for each legal label, at its place on the scale. */
function chances(clip, likely) {
  const { low, high } = told.task;
  const at = (value) => 12 + ((value - low) / (high - low)) * (WIDE - 24);
  const most = Math.max(...likely.map(([, share]) => share));
  const thick = Math.max(1, (0.8 * (WIDE - 24)) / likely.length);
  const figure = drawn("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, class: "chances", role: "img" });
  figure.append(drawn("title", {}, `the likeliest: ${percent(most)}`));
  for (const [name, share] of likely) {
    const tall = (share / most) * (HIGH - FOOT - 14);
    const bar = drawn("rect", { x: at(Number(name)) - thick / 2, y: HIGH - FOOT - tall, width: thick, height: tall });
    bar.append(drawn("title", {}, `${name}: ${percent(share)}`));
    figure.append(bar);
    if (share === most) figure.append(drawn("text", { x: at(Number(name)), y: HIGH - FOOT - tall - 4 }, percent(share)));
  }
  if (clip.label !== null) figure.append(drawn("line", { class: "truth", x1: at(clip.label), x2: at(clip.label), y1: 6, y2: HIGH - FOOT }));
  figure.append(drawn("line", { x1: 0, x2: WIDE, y1: HIGH - FOOT, y2: HIGH - FOOT }));
  for (const value of [low, (low + high) / 2, high]) figure.append(drawn("text", { x: at(value), y: HIGH - 4 }, signed(value)));
  return figure;
}

function step(by) {
  const index = Math.min(Math.max(shown.open + by, 0), shown.rows.length - 1);
  if (index !== shown.open) open(index);
}

// --- keys and controls ---

function options(select, pairs) {
  select.replaceChildren(...pairs.map(([value, text]) => element("option", { value, textContent: text })));
}

function begin() {
  document.querySelector("h1").textContent = told.title;
  options(byId("run"), told.runs.map((run) => [run, run]));
  byId("runs").hidden = told.runs.length < 2;
  const labels = classes ? told.task.names.map((name) => [name, name]) : [["1", "above 0"], ["0", "0"], ["-1", "below 0"]];
  options(byId("label"), [["", "any"], ...labels]);
  if (classes) byId("least").max = 1;
  byId("run").addEventListener("change", () => { shown.run = byId("run").value; draw(); });
  for (const id of ["label", "flagged"]) byId(id).addEventListener("change", draw);
  for (const id of ["search", "least"]) byId(id).addEventListener("input", draw);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").addEventListener("reset", () => setTimeout(() => { shown.run = byId("run").value; draw(); }));
  byId("close").addEventListener("click", () => document.querySelector("dialog").close());
  byId("before").addEventListener("click", () => step(-1));
  byId("after").addEventListener("click", () => step(1));
  const dialog = document.querySelector("dialog");
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => {
    byId("clip").replaceChildren(); // a recording stops
    const row = rowAt(shown.open);
    if (row) move(row, 0);
  });
  document.addEventListener("keydown", keys);
  const below = ([{ isIntersecting }]) => isIntersecting && rowAt(body.children.length);
  new IntersectionObserver(below, { rootMargin: "1000px" }).observe(document.querySelector("footer"));
  draw();
}

function keys(event) {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.querySelector("dialog").open) {
    if (target.matches("video, audio")) return; // there they wind
    if (key === "ArrowLeft" || key === "ArrowRight") step(key === "ArrowLeft" ? -1 : 1);
    return;
  }
  if (target.matches("input, select")) {
    if (key === "ArrowDown" && target.id === "search") document.querySelector("tbody tr")?.focus();
    return;
  }
  if (key === "/") {
    event.preventDefault();
    byId("search").focus();
    return;
  }
  const row = target.closest("tbody tr");
  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
  if (row && key in steps) {
    event.preventDefault();
    move(row, Math.max(-1e9, Math.min(1e9, steps[key])));
  } else if (row && (key === "Enter" || key === " ")) {
    event.preventDefault();
    open([...row.parentElement.children].indexOf(row));
  }
}

begin();
