// The timeline of one session, drawn on a canvas: lanes of agents, then charts on the same axis.

class Timeline {
  /** `findings` have `at_ms`, `first_ms`, `lane` and `number`. `onSelect` receives a bar or finding. */
  constructor(detail, findings, onSelect) {
    Object.assign(this, { detail, findings, onSelect });
    this.length = Math.max(detail.length_ms, 1);
    this.selected = null;
    this.lanes = detail.lanes.map((lane, idx) => layoutLane(lane, idx, detail.texts));
    const calls = this.lanes.flatMap((lane) => lane.items).filter((item) => item.duration);
    this.fullScale = new Scale(this.length, [], 0);
    this.shortScale = shortenedScale(
      this.length,
      calls.map((item) => [item.start, item.start + item.duration]),
    );
    this.scale = this.shortScale;
    this.view = [0, this.scale.end];
    this.charts = chartsOf(detail);
    let y = AXIS;
    for (const lane of this.lanes) {
      lane.y = y;
      if (0 < lane.height) y += lane.height + LANE_GAP;
    }
    for (const chart of this.charts) {
      chart.y = y + CHART_LABEL;
      y += CHART_LABEL + CHART + 6;
    }
    this.height = y;
    this.canvas = el("canvas", {
      tabindex: "0",
      role: "img",
      style: { height: `${this.height}px` },
      "aria-label": this.description(),
      "aria-describedby": "timeline-keys",
      keydown: (event) => this.key(event),
      wheel: (event) => this.wheel(event),
      pointerdown: (event) => this.down(event),
      pointermove: (event) => this.move(event),
      pointerup: (event) => this.up(event),
      pointerleave: () => this.hover(null),
      dblclick: () => this.showAll(),
    });
    this.tip = el("div", { class: "tip", hidden: true });
    this.element = el("div", { class: "timeline" }, this.canvas, this.tip);
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  description() {
    const bars = this.lanes.reduce((sum, lane) => sum + lane.items.length, 0);
    return `Timeline${this.detail.starts_at ? ` of ${duration(this.length)}` : ""}: ${counted(this.lanes.length, "agent")}, ${counted(bars, "bar")}, ${counted(this.findings.length, "finding")}. The same data are in the tables of findings and events.`;
  }

  /** Shows a part of the axis, between two positions. */
  show(from, to) {
    const length = Math.min(Math.max(to - from, 5), this.scale.end);
    const start = Math.min(Math.max(from, 0), this.scale.end - length);
    this.view = [start, start + length];
    this.draw();
  }

  showAll() {
    this.show(0, this.scale.end);
  }

  /** Sets whether long idle periods are short. */
  shortenIdle(isShort) {
    const [from, to] = this.view.map((position) => this.scale.time(position));
    this.scale = isShort ? this.shortScale : this.fullScale;
    this.show(this.scale.position(from), this.scale.position(to));
  }

  zoom(factor, center = (this.view[0] + this.view[1]) / 2) {
    const [from, to] = this.view;
    this.show(center - (center - from) * factor, center + (to - center) * factor);
  }

  /** Selects a finding and shows its episode with some time around. */
  showFinding(finding) {
    this.selected = { finding };
    const [from, to] = [finding.first_ms, finding.end_ms].map((ms) => this.scale.position(ms));
    const margin = 0.35 * Math.max(to - from, this.scale.end / 200);
    this.show(from - margin, to + margin);
  }

  x(ms) {
    return ((this.scale.position(ms) - this.view[0]) / (this.view[1] - this.view[0])) * this.width;
  }

  /** Returns the position on the axis of a place on the canvas. */
  position(x) {
    return this.view[0] + (x / this.width) * (this.view[1] - this.view[0]);
  }

  draw() {
    const width = this.element.clientWidth;
    if (width === 0) return;
    const ratio = devicePixelRatio || 1;
    this.width = width;
    this.canvas.width = width * ratio;
    this.canvas.height = this.height * ratio;
    const cx = this.canvas.getContext("2d");
    cx.scale(ratio, ratio);
    const names = [
      "bg",
      "raised",
      "line",
      "strong-line",
      "ink",
      "muted",
      "accent",
      "high-fill",
      "medium-fill",
      "low-fill",
      "selected",
      "idle",
      ...COLORED,
      "input",
      "cache_read",
      "cache_write",
      "output",
    ];
    this.colors = Object.fromEntries(names.map((name) => [name, color(name)]));
    cx.font = "11px system-ui, sans-serif";
    cx.textBaseline = "middle";
    this.drawAxis(cx);
    this.drawEpisodes(cx);
    for (const lane of this.lanes.filter((it) => 0 < it.height)) this.drawLane(cx, lane);
    for (const chart of this.charts) this.drawChart(cx, chart);
    for (const finding of this.findings) this.drawFinding(cx, finding);
    if (this.drag) {
      cx.globalAlpha = 0.2;
      cx.fillStyle = this.colors.accent;
      cx.fillRect(
        Math.min(this.drag.from, this.drag.to),
        AXIS,
        Math.abs(this.drag.to - this.drag.from),
        this.height,
      );
      cx.globalAlpha = 1;
    } else if (this.cursor !== undefined && this.cursor !== null) {
      cx.fillStyle = this.colors["strong-line"];
      cx.fillRect(Math.round(this.cursor), AXIS, 1, this.height);
    }
  }

  drawAxis(cx) {
    const step = niceStep((this.view[1] - this.view[0]) / Math.max(2, Math.floor(this.width / 110)));
    cx.fillStyle = this.colors.raised;
    cx.fillRect(0, 0, this.width, AXIS - 1);
    const [from, to] = this.view.map((position) => this.scale.time(position));
    let end = -Infinity;
    const tick = (at) => {
      const x = Math.round(this.x(at));
      const text = moment(at, this.detail);
      if (x < end + 10) return;
      cx.fillStyle = this.colors.line;
      cx.fillRect(x, 0, 1, this.height);
      cx.fillStyle = this.colors.muted;
      cx.fillText(text, x + 4, AXIS / 2);
      end = x + 4 + cx.measureText(text).width;
    };
    let busy = from;
    for (const [start, stop] of [...this.scale.gaps, [to, to]]) {
      for (let at = Math.ceil(busy / step) * step; at <= Math.min(start, to); at += step) tick(at);
      busy = Math.max(busy, stop);
      if (start < to && from < stop) {
        const x = this.x(start),
          width = this.x(stop) - x;
        cx.fillStyle = this.colors.raised;
        cx.fillRect(x, AXIS, width, this.height);
        stripes(cx, x, 0, width, AXIS - 1, this.colors["strong-line"], 0.6);
      }
    }
  }

  drawEpisodes(cx) {
    for (const finding of this.findings) {
      const lane = this.lanes[finding.lane];
      const x = this.x(finding.first_ms);
      cx.globalAlpha = this.selected?.finding === finding ? 0.22 : 0.09;
      cx.fillStyle = this.colors[`${finding.severity}-fill`];
      cx.fillRect(x, lane.y, Math.max(2, this.x(finding.end_ms) - x), lane.height);
      cx.globalAlpha = 1;
    }
  }

  drawLane(cx, lane) {
    cx.fillStyle = this.colors.ink;
    cx.fillText(lane.label, 8, lane.y + LABEL / 2, this.width - 16);
    cx.fillStyle = this.colors.line;
    cx.fillRect(0, lane.y - LANE_GAP / 2, this.width, 1);
    for (const item of lane.items) {
      const x = this.x(item.start),
        end = this.x(item.start + item.duration);
      if (end < -1 || this.width < x) continue;
      const y = lane.y + item.y;
      if (MARKS.has(item.kind)) this.drawMark(cx, item, x, y);
      else this.drawBar(cx, item, x, Math.max(item.failed ? 2 : 1, end - x), y);
    }
  }

  drawBar(cx, item, x, width, y) {
    const height = STATES.has(item.kind) ? STATE_ROW : CALL_ROW;
    cx.fillStyle = this.colors[item.kind];
    cx.fillRect(x, y, width, height);
    if (item.kind === "permission" || item.kind === "person" || item.outcome === "open") {
      stripes(cx, x, y, width, height, this.colors.bg, 0.45);
    }
    if (item.failed) {
      // Not by color alone: failed calls are striped and have an edge.
      stripes(cx, x, y, width, height, this.colors["high-fill"], 0.9);
      cx.fillStyle = this.colors["high-fill"];
      cx.fillRect(x, y, width, 2);
    }
    if (item.repeats && 4 < width) {
      cx.fillStyle = this.colors.ink;
      cx.beginPath();
      cx.moveTo(x, y);
      cx.lineTo(x + 6, y);
      cx.lineTo(x, y + 6);
      cx.fill();
    }
    if (44 < width && !STATES.has(item.kind)) {
      const text = visible(item.text).replaceAll("`", "");
      cx.save();
      cx.beginPath();
      cx.rect(x, y, width, height);
      cx.clip();
      if (item.failed) {
        cx.fillStyle = this.colors.bg;
        cx.fillRect(Math.max(x, 0) + 7, y + 3, cx.measureText(text).width + 6, height - 4);
        cx.fillStyle = this.colors.ink;
      } else {
        cx.fillStyle = item.kind === "delegate" || item.kind === "ask" ? "#fff" : "#101316";
      }
      cx.fillText(text, Math.max(x, 0) + 10, y + height / 2 + 0.5);
      cx.restore();
    }
    if (this.selected?.item === item) {
      cx.strokeStyle = this.colors.accent;
      cx.lineWidth = 2;
      cx.strokeRect(x - 1, y - 1, width + 2, height + 2);
    }
  }

  drawMark(cx, item, x, y) {
    cx.fillStyle =
      item.kind === "error"
        ? this.colors["high-fill"]
        : item.kind === "prompt"
          ? this.colors.ink
          : this.colors.accent;
    cx.beginPath();
    if (item.kind === "prompt") {
      cx.moveTo(x - 4, y);
      cx.lineTo(x + 4, y);
      cx.lineTo(x, y + 7);
    } else if (item.kind === "error") {
      cx.rect(x - 3, y, 6, 6);
    } else {
      cx.arc(x, y + 3, 3.5, 0, 7);
    }
    cx.fill();
  }

  drawFinding(cx, finding) {
    const lane = this.lanes[finding.lane];
    const x = this.x(finding.at_ms);
    if (x < -10 || this.width + 10 < x) return;
    const isSelected = this.selected?.finding === finding;
    cx.fillStyle = this.colors[`${finding.severity}-fill`];
    cx.fillRect(Math.round(x) - (isSelected ? 1 : 0), lane.y, isSelected ? 3 : 1, lane.height);
    finding.box = { x: Math.min(Math.max(x, 9), this.width - 9), y: lane.y + LABEL / 2 };
    const { x: center, y } = finding.box;
    cx.fillStyle = this.colors.ink;
    cx.beginPath();
    cx.roundRect(center - 8, y - 8, 16, 16, 3);
    cx.fill();
    cx.fillStyle = this.colors.bg;
    cx.textAlign = "center";
    cx.font = "600 11px system-ui, sans-serif";
    cx.fillText(String(finding.number), center, y + 0.5);
    cx.textAlign = "left";
    cx.font = "11px system-ui, sans-serif";
    const first = this.x(finding.first_ms);
    cx.strokeStyle = this.colors[`${finding.severity}-fill`];
    cx.lineWidth = 1.5;
    cx.strokeRect(Math.round(first) + 0.5, lane.y + LABEL - 3, 0, lane.height - LABEL + 3);
  }

  drawChart(cx, chart) {
    const bottom = chart.y + CHART;
    cx.fillStyle = this.colors.ink;
    cx.fillText(chart.label, 8, chart.y - CHART_LABEL / 2);
    const labelWidth = cx.measureText(chart.label).width;
    cx.fillStyle = this.colors.muted;
    cx.fillText(chart.summary, 16 + labelWidth, chart.y - CHART_LABEL / 2);
    cx.fillStyle = this.colors.line;
    cx.fillRect(0, bottom, this.width, 1);
    const scale = CHART / chart.max;
    const floor = chart.times.map(() => 0);
    for (const { values, fill } of chart.series) {
      cx.beginPath();
      const path = chart.times.map((at, idx) => [this.x(at), bottom - (floor[idx] + values[idx]) * scale]);
      // A sum stays the same until the next model call.
      cx.moveTo(path[0][0], bottom - floor[0] * scale);
      path.forEach(([x, y], idx) => {
        if (0 < idx) cx.lineTo(x, path[idx - 1][1]);
        cx.lineTo(x, y);
      });
      const end = this.x(this.length);
      cx.lineTo(end, path[path.length - 1][1]);
      cx.lineTo(end, bottom - floor[floor.length - 1] * scale);
      for (let idx = path.length - 1; 0 <= idx; idx--) {
        if (idx < path.length - 1) cx.lineTo(path[idx + 1][0], bottom - floor[idx] * scale);
        cx.lineTo(path[idx][0], bottom - floor[idx] * scale);
      }
      cx.fillStyle = this.colors[fill];
      cx.fill();
      values.forEach((value, idx) => {
        floor[idx] += value;
      });
    }
    if (chart.limit) {
      cx.strokeStyle = this.colors["high-fill"];
      cx.setLineDash([4, 3]);
      cx.strokeRect(0, Math.round(bottom - chart.limit * scale) + 0.5, this.width, 0);
      cx.setLineDash([]);
    }
  }

  /** Returns the finding or the bar at a place. */
  at(x, y) {
    const finding = this.findings.find(
      (it) => it.box && Math.abs(it.box.x - x) < 9 && Math.abs(it.box.y - y) < 9,
    );
    if (finding) return { finding };
    const lane = this.lanes.find((it) => it.y <= y && y < it.y + it.height);
    if (!lane) return null;
    let best = null,
      bestDistance = 5;
    for (const item of lane.items) {
      const height = MARKS.has(item.kind) ? 8 : STATES.has(item.kind) ? STATE_ROW : CALL_ROW;
      if (y < lane.y + item.y || lane.y + item.y + height < y) continue;
      const from = this.x(item.start),
        to = Math.max(this.x(item.start + item.duration), from + 1);
      const distance = Math.max(from - x, x - to, 0);
      if (distance < bestDistance) [best, bestDistance] = [item, distance];
    }
    return best && { item: best };
  }

  select(target) {
    this.selected = target;
    this.onSelect(target);
    this.draw();
  }

  hover(event) {
    const target = event && this.at(event.offsetX, event.offsetY);
    this.cursor = event ? event.offsetX : null;
    const chart =
      event && this.charts.find((it) => it.y - CHART_LABEL <= event.offsetY && event.offsetY <= it.y + CHART);
    const lines = target
      ? describe(target, this.detail)
      : chart
        ? chart.describe(this.scale.time(this.position(event.offsetX)))
        : null;
    this.tip.hidden = !lines;
    if (lines) {
      this.tip.replaceChildren(
        ...lines.map((line, idx) => el("div", { class: idx ? "muted" : "cell-main" }, line)),
      );
      const left = Math.min(event.offsetX + 14, this.width - this.tip.offsetWidth - 6);
      const above = this.height - this.tip.offsetHeight - 6;
      Object.assign(this.tip.style, {
        left: `${Math.max(6, left)}px`,
        top: `${Math.max(0, Math.min(event.offsetY + 16, above))}px`,
      });
    }
    this.draw();
  }

  down(event) {
    this.pressed = event.offsetX;
    if (event.pointerType === "mouse") this.canvas.setPointerCapture(event.pointerId);
  }

  move(event) {
    if (this.pressed === undefined) return this.hover(event);
    if (event.pointerType !== "mouse") {
      const shift = this.position(this.pressed) - this.position(event.offsetX);
      this.pressed = event.offsetX;
      return this.show(this.view[0] + shift, this.view[1] + shift);
    }
    if (4 < Math.abs(event.offsetX - this.pressed)) {
      this.tip.hidden = true;
      this.drag = { from: this.pressed, to: event.offsetX };
      this.draw();
    }
    return undefined;
  }

  up(event) {
    const drag = this.drag;
    this.drag = undefined;
    this.pressed = undefined;
    if (drag)
      this.show(this.position(Math.min(drag.from, drag.to)), this.position(Math.max(drag.from, drag.to)));
    else this.select(this.at(event.offsetX, event.offsetY));
  }

  wheel(event) {
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? 0.8 : 1.25, this.position(event.offsetX));
    } else if (event.shiftKey || Math.abs(event.deltaY) < Math.abs(event.deltaX)) {
      event.preventDefault();
      const shift = ((event.deltaX || event.deltaY) / this.width) * (this.view[1] - this.view[0]);
      this.show(this.view[0] + shift, this.view[1] + shift);
    }
  }

  key(event) {
    const shift = (this.view[1] - this.view[0]) / 5;
    const actions = {
      ArrowLeft: () => this.show(this.view[0] - shift, this.view[1] - shift),
      ArrowRight: () => this.show(this.view[0] + shift, this.view[1] + shift),
      "+": () => this.zoom(0.7),
      "=": () => this.zoom(0.7),
      "-": () => this.zoom(1.4),
      0: () => this.showAll(),
      n: () => this.step(1),
      p: () => this.step(-1),
    };
    const action = event.ctrlKey || event.metaKey || event.altKey ? null : actions[event.key];
    if (action) {
      event.preventDefault();
      action();
    }
  }

  /** Selects the next or the previous bar in order of time. */
  step(by) {
    this.ordered ??= this.lanes.flatMap((lane) => lane.items).sort((a, b) => a.start - b.start);
    const idx = this.ordered.indexOf(this.selected?.item);
    const next =
      idx < 0 ? this.ordered.findIndex((item) => this.view[0] <= this.scale.position(item.start)) : idx + by;
    const item = this.ordered[Math.min(Math.max(next, 0), this.ordered.length - 1)];
    if (!item) return;
    const [from, to] = this.view;
    const start = this.scale.position(item.start);
    if (start < from || to < start) this.show(start - (to - from) / 4, start + (3 * (to - from)) / 4);
    this.select({ item });
  }
}

function niceStep(least) {
  const steps = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 9e5, 18e5, 36e5,
    72e5, 216e5, 432e5, 864e5,
  ];
  return steps.find((step) => least <= step) ?? Math.ceil(least / 864e5) * 864e5;
}

function stripes(cx, x, y, width, height, style, alpha) {
  cx.save();
  cx.beginPath();
  cx.rect(x, y, width, height);
  cx.clip();
  cx.globalAlpha = alpha;
  cx.strokeStyle = style;
  cx.lineWidth = 2;
  cx.beginPath();
  // Only the part that can be seen.
  const from = Math.max(x, -height),
    to = Math.min(x + width, cx.canvas.width);
  for (let at = from - height - ((from - x) % 7); at < to; at += 7) {
    cx.moveTo(at, y + height);
    cx.lineTo(at + height, y);
  }
  cx.stroke();
  cx.restore();
}
