"use strict";
(() => {
  const make = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };
  const data = (box) => JSON.parse(box.querySelector("script").textContent);

  // --- tooltips ---------------------------------------------------------------------------------

  const tip = document.getElementById("tip");
  const hideTip = () => { tip.hidden = true; };
  const showTip = (text, x, y) => {
    tip.textContent = text;
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    const below = y + 18 + height < innerHeight ? y + 18 : y - height - 10;
    tip.style.left = `${Math.max(4, Math.min(x + 12, innerWidth - width - 4))}px`;
    tip.style.top = `${Math.max(4, below)}px`;
  };
  for (const chart of document.querySelectorAll(".chart")) {
    chart.addEventListener("pointermove", (event) => {
      const mark = event.target.closest('[aria-roledescription][aria-label]:not(svg):not(g)');
      if (mark && mark.getAttribute("role") === "graphics-symbol") {
        showTip(mark.getAttribute("aria-label"), event.clientX, event.clientY);
      } else hideTip();
    });
    chart.addEventListener("pointerleave", hideTip);
  }
  addEventListener("scroll", hideTip, { passive: true });
  addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });

  // --- choices ----------------------------------------------------------------------------------

  const label = (choice) => choice.querySelector(":scope > .options").getAttribute("aria-label");
  const choose = (choice, name) => {
    const options = [...choice.querySelectorAll(":scope > .option")];
    if (!options.some((option) => option.dataset.name === name)) return;
    for (const option of options) option.hidden = option.dataset.name !== name;
    for (const button of choice.querySelectorAll(":scope > .options > button")) {
      button.setAttribute("aria-pressed", String(button.textContent === name));
    }
    const list = choice.querySelector(":scope > .options > select");
    if (list) list.value = name;
  };
  for (const choice of document.querySelectorAll(".choice")) {
    const chosen = (name) => {
      const alike = choice.closest("section").querySelectorAll(".choice");
      for (const other of alike) if (label(other) === label(choice)) choose(other, name);
    };
    const options = choice.querySelector(":scope > .options");
    options.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) chosen(button.textContent);
    });
    options.addEventListener("change", (event) => chosen(event.target.value));
  }

  // --- tables -----------------------------------------------------------------------------------

  const CHUNK = 150;
  const PRINTED = 2000;
  const SEARCHED_FROM = 12;
  const words = new Intl.Collator("en", { numeric: true });
  const textOf = (cell) => (Array.isArray(cell) ? cell[0] : cell);
  const order = (one, other) => {
    const [a, b] = [Array.isArray(one) ? one[1] : null, Array.isArray(other) ? other[1] : null];
    if (a !== null && b !== null) return a - b;
    if (a !== null || b !== null) return a === null ? -1 : 1;
    return words.compare(textOf(one), textOf(other));
  };

  class Grid {
    constructor(box) {
      Object.assign(this, data(box));
      this.found = this.rows;
      this.body = make("tbody");
      this.heads = this.columns.map((name, at) => this.head(name, at));
      const title = box.dataset.title;
      const table = make("table", {}, make("thead", {}, make("tr", {}, ...this.heads)), this.body);
      this.scroll = make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": title }, table);
      this.output = make("output", { "aria-live": "polite" });
      if (this.rows.length >= SEARCHED_FROM) box.append(this.bar(title));
      box.append(this.scroll);
      this.scroll.addEventListener("scroll", () => this.fill(), { passive: true });
      addEventListener("beforeprint", () => { while (this.more(PRINTED)); });
      this.show();
    }

    head(name, at) {
      const button = make("button", { type: "button" }, name || "–");
      button.addEventListener("click", () => this.sort(at));
      const head = make("th", { scope: "col", "aria-sort": "none" }, button);
      if (at < this.names) head.className = "name";
      return head;
    }

    bar(title) {
      const search = make("input", { type: "search", placeholder: "Search", "aria-label": `Search in ${title}` });
      search.addEventListener("input", () => {
        const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
        this.found = this.rows.filter((row) => {
          const text = row.map(textOf).join(" ").toLowerCase();
          return wanted.every((word) => text.includes(word));
        });
        this.show();
      });
      return make("div", { class: "bar" }, search, this.output);
    }

    sort(at) {
      const was = this.heads[at].getAttribute("aria-sort");
      const first = at < this.names ? "ascending" : "descending";
      const second = at < this.names ? "descending" : "ascending";
      const now = was === first ? second : first;
      const sign = now === "ascending" ? 1 : -1;
      for (const head of this.heads) head.setAttribute("aria-sort", "none");
      this.heads[at].setAttribute("aria-sort", now);
      const compare = (one, other) => sign * order(one[at], other[at]);
      this.rows = [...this.rows].sort(compare);
      this.found = [...this.found].sort(compare);
      this.show();
    }

    show() {
      this.body.replaceChildren();
      this.scroll.scrollTop = 0;
      const all = this.rows.length.toLocaleString("en");
      this.output.textContent = `${this.found.length.toLocaleString("en")} of ${all} rows`;
      this.more(CHUNK);
    }

    fill() {
      const { scrollTop, clientHeight, scrollHeight } = this.scroll;
      if (scrollTop + 3 * clientHeight > scrollHeight) this.more(CHUNK);
    }

    /** Lays out rows until there are `most` more; whether any are left below that many. */
    more(most) {
      const begun = this.body.childElementCount;
      const rows = this.found.slice(begun, begun + most);
      this.body.append(...rows.map((row) => make("tr", {}, ...row.map((cell, at) => {
        const made = make(at ? "td" : "th", at ? {} : { scope: "row" }, textOf(cell));
        if (at < this.names) made.className = "name";
        return made;
      }))));
      return begun + rows.length < Math.min(this.found.length, PRINTED);
    }
  }
  for (const box of document.querySelectorAll(".table")) new Grid(box);

  // --- drawings of networks ---------------------------------------------------------------------

  const ACROSS = 150;
  const DOWN = 46;
  const BOX = [128, 28];
  const NAMED_FROM = 0.55;
  const rgb = (text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
  const wanted = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  class Network {
    constructor(box) {
      Object.assign(this, data(box));
      this.title = box.dataset.title;
      this.canvas = make("canvas", { tabindex: 0, role: "img", "aria-label": this.said() });
      this.view = make("div", { class: "view" }, this.canvas);
      box.prepend(this.bar(), this.view);
      this.place = { x: 0, y: 0, scale: 1 };
      this.chosen = -1;
      this.pointers = new Map();
      this.listen();
      new ResizeObserver(() => this.resize()).observe(this.canvas);
      for (const kind of ["(prefers-color-scheme: dark)", "print"]) {
        matchMedia(kind).addEventListener("change", () => this.paint());
      }
    }

    said() {
      const count = this.nodes.length.toLocaleString("en");
      return `${this.title}: ${count} nodes; the table lists them all. Arrows move, plus and minus zoom, 0 shows everything.`;
    }

    bar() {
      const button = (name, title, act) => {
        const made = make("button", { type: "button", title, "aria-label": title }, name);
        made.addEventListener("click", act);
        return made;
      };
      const search = make("input", { type: "search", placeholder: "Find a node", "aria-label": "Find a node in the drawing" });
      search.addEventListener("input", () => this.find(search.value));
      search.addEventListener("keydown", (event) => { if (event.key === "Enter") this.find(search.value, this.chosen + 1); });
      const legend = make("span", { class: "legend" }, "0", make("i"), "most");
      return make("div", { class: "bar" },
        button("+", "Zoom in", () => this.zoom(1.4)), button("−", "Zoom out", () => this.zoom(1 / 1.4)),
        button("All", "Show everything", () => this.fit()), search, legend);
    }

    find(text, from = 0) {
      const word = text.trim().toLowerCase();
      const matches = (node) => node[4].toLowerCase().includes(word);
      this.chosen = word ? this.nodes.findIndex((node, at) => at >= from && matches(node)) : -1;
      if (this.chosen < 0 && from && word) { this.find(text); return; }
      if (this.chosen >= 0) {
        const [x, y] = this.nodes[this.chosen];
        this.place.scale = Math.max(this.place.scale, 0.8);
        this.place.x = this.canvas.clientWidth / 2 - x * ACROSS * this.place.scale;
        this.place.y = this.canvas.clientHeight / 2 - y * DOWN * this.place.scale;
      }
      this.draw();
    }

    extent() {
      let [left, right, bottom] = [Infinity, -Infinity, 0];
      for (const [x, y] of this.nodes) {
        left = Math.min(left, x); right = Math.max(right, x); bottom = Math.max(bottom, y);
      }
      return { left: (left - 0.6) * ACROSS, right: (right + 0.6) * ACROSS, top: -DOWN, bottom: (bottom + 1) * DOWN };
    }

    fit() {
      if (!this.nodes.length) return;
      const { left, right, top, bottom } = this.extent();
      const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
      const scale = Math.min(1, width / (right - left), height / (bottom - top));
      this.place = { scale, x: (width - (left + right) * scale) / 2, y: (height - (top + bottom) * scale) / 2 };
      this.draw();
    }

    resize() {
      const density = Math.max(2, devicePixelRatio || 1);
      const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
      if (!width) return;
      this.canvas.width = width * density;
      this.canvas.height = height * density;
      this.density = density;
      if (!this.fitted) { this.fitted = true; this.fit(); } else this.draw();
    }

    zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
      const scale = Math.min(4, Math.max(0.005, this.place.scale * factor));
      const ratio = scale / this.place.scale;
      this.place = { scale, x: x - (x - this.place.x) * ratio, y: y - (y - this.place.y) * ratio };
      this.draw();
    }

    draw() {
      if (this.waiting) return;
      this.waiting = true;
      requestAnimationFrame(() => { this.waiting = false; this.paint(); });
    }

    paint() {
      if (!this.density) return;
      const pen = this.canvas.getContext("2d");
      const { x, y, scale } = this.place;
      const [cold, hot] = [rgb(wanted("--cold")), rgb(wanted("--hot"))];
      pen.setTransform(this.density, 0, 0, this.density, 0, 0);
      pen.clearRect(0, 0, this.canvas.clientWidth, this.canvas.clientHeight);
      pen.translate(x, y);
      pen.scale(scale, scale);
      const seen = {
        left: -x / scale - ACROSS, right: (this.canvas.clientWidth - x) / scale + ACROSS,
        top: -y / scale - DOWN, bottom: (this.canvas.clientHeight - y) / scale + DOWN,
      };
      pen.strokeStyle = wanted("--dim");
      pen.globalAlpha = 0.6;
      pen.lineWidth = Math.min(1.5 / scale, 4);
      pen.beginPath();
      for (const line of this.lines) this.trace(pen, line, seen);
      pen.stroke();
      pen.globalAlpha = 1;
      const [wide, high] = BOX;
      pen.font = "12px system-ui, sans-serif";
      pen.textAlign = "center";
      pen.textBaseline = "middle";
      this.nodes.forEach((node, at) => {
        const [px, py] = [node[0] * ACROSS, node[1] * DOWN];
        if (px < seen.left || px > seen.right || py < seen.top || py > seen.bottom) return;
        const depth = node[2] < 0 ? 0 : Math.sqrt(node[2]);
        const colour = cold.map((from, i) => Math.round(from + (hot[i] - from) * depth));
        pen.fillStyle = node[2] < 0 ? wanted("--paper") : `rgb(${colour.join(",")})`;
        pen.fillRect(px - wide / 2, py - high / 2, wide, high);
        pen.strokeStyle = at === this.chosen ? wanted("--link") : wanted("--dim");
        pen.lineWidth = at === this.chosen ? 4 / Math.min(1, scale) : 1;
        pen.setLineDash(node[2] < 0 ? [4, 3] : []);
        pen.strokeRect(px - wide / 2, py - high / 2, wide, high);
        if (scale < NAMED_FROM) return;
        const light = (colour[0] * 3 + colour[1] * 6 + colour[2]) / 10 > 140;
        pen.fillStyle = node[2] < 0 ? wanted("--ink") : light ? "#101418" : "#ffffff";
        pen.fillText(node[3], px, py + 0.5, wide - 8);
      });
      pen.setLineDash([]);
    }

    trace(pen, line, seen) {
      let [top, bottom] = [Infinity, -Infinity];
      for (let at = 1; at < line.length; at += 2) {
        top = Math.min(top, line[at] * DOWN);
        bottom = Math.max(bottom, line[at] * DOWN);
      }
      if (bottom < seen.top || top > seen.bottom) return;
      pen.moveTo(line[0] * ACROSS, line[1] * DOWN);
      for (let at = 2; at < line.length; at += 2) pen.lineTo(line[at] * ACROSS, line[at + 1] * DOWN);
    }

    at(event) {
      const box = this.canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    }

    under(event) {
      const [x, y] = this.at(event);
      const [px, py] = [(x - this.place.x) / this.place.scale, (y - this.place.y) / this.place.scale];
      const slack = Math.max(0, 4 / this.place.scale);
      return this.nodes.find((node) => Math.abs(node[0] * ACROSS - px) < BOX[0] / 2 + slack
        && Math.abs(node[1] * DOWN - py) < BOX[1] / 2 + slack);
    }

    listen() {
      const canvas = this.canvas;
      canvas.style.touchAction = "pan-y pinch-zoom";
      canvas.addEventListener("wheel", (event) => {
        if (!event.ctrlKey && !event.metaKey && document.activeElement !== canvas) return;
        event.preventDefault();
        this.zoom(Math.exp(-event.deltaY / 400), ...this.at(event));
      }, { passive: false });
      canvas.addEventListener("pointerdown", (event) => {
        canvas.setPointerCapture(event.pointerId);
        this.pointers.set(event.pointerId, this.at(event));
        const node = this.under(event);
        if (node) showTip(node[4], event.clientX, event.clientY);
      });
      canvas.addEventListener("pointermove", (event) => this.move(event));
      for (const name of ["pointerup", "pointercancel"]) {
        canvas.addEventListener(name, (event) => this.pointers.delete(event.pointerId));
      }
      canvas.addEventListener("pointerleave", hideTip);
      canvas.addEventListener("keydown", (event) => this.key(event));
    }

    move(event) {
      const from = this.pointers.get(event.pointerId);
      if (!from) {
        const node = this.under(event);
        if (node) showTip(node[4], event.clientX, event.clientY); else hideTip();
        return;
      }
      const to = this.at(event);
      this.place.x += to[0] - from[0];
      this.place.y += to[1] - from[1];
      this.pointers.set(event.pointerId, to);
      if (Math.hypot(to[0] - from[0], to[1] - from[1]) > 2) hideTip();
      this.draw();
    }

    key(event) {
      const moves = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
      if (event.key in moves) {
        this.place.x += moves[event.key][0];
        this.place.y += moves[event.key][1];
        this.draw();
      } else if (event.key === "+" || event.key === "=") this.zoom(1.4);
      else if (event.key === "-") this.zoom(1 / 1.4);
      else if (event.key === "0") this.fit();
      else return;
      event.preventDefault();
    }
  }
  for (const box of document.querySelectorAll(".drawing")) new Network(box);
})();
