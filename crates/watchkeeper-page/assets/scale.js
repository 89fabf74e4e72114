// The time axis, on which long idle periods can be short.

/** The least idle period that is shortened, in milliseconds and as a part of the busy time. */
const LEAST_GAP_MS = 60e3,
  LEAST_GAP_PART = 0.04;
/** The shown length of such a period, as a part of the busy time. */
const SHOWN_PART = 0.015;

/** Maps times in milliseconds to positions on the axis, in order. */
class Scale {
  /** `gaps` are periods in order, each of which is shown as long as `shown`. */
  constructor(length, gaps, shown) {
    this.gaps = gaps;
    this.times = [0];
    this.positions = [0];
    const add = (time, position) => {
      this.times.push(time);
      this.positions.push(position);
    };
    let saved = 0;
    for (const [from, to] of gaps) {
      add(from, from - saved);
      saved += to - from - shown;
      add(to, to - saved);
    }
    add(length, length - saved);
    this.end = length - saved;
  }

  position(ms) {
    return interpolated(this.times, this.positions, ms);
  }

  time(position) {
    return interpolated(this.positions, this.times, position);
  }
}

/** Returns the value at `x` of the line through points. Values beyond the ends continue it. */
function interpolated(xs, ys, x) {
  let idx = xs.findIndex((it) => x < it);
  if (idx < 0) idx = xs.length - 1;
  idx = Math.max(idx, 1);
  const width = xs[idx] - xs[idx - 1];
  if (width === 0) return ys[idx];
  return ys[idx - 1] + ((x - xs[idx - 1]) * (ys[idx] - ys[idx - 1])) / width;
}

/** Returns a scale for these periods of activity, with short idle periods if there are long ones. */
function shortenedScale(length, periods) {
  const gaps = [];
  let end = 0;
  for (const [from, to] of periods.sort((a, b) => a[0] - b[0])) {
    if (end < from) gaps.push([end, from]);
    end = Math.max(end, to);
  }
  if (end < length) gaps.push([end, length]);
  const busy = length - gaps.reduce((sum, [from, to]) => sum + to - from, 0);
  const least = Math.max(LEAST_GAP_MS, LEAST_GAP_PART * busy);
  return new Scale(
    length,
    gaps.filter(([from, to]) => least < to - from),
    Math.max(SHOWN_PART * busy, 1),
  );
}
