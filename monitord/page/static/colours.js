// Colours of the page's theme for canvases, and the marks that are drawn over curves.

export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

// Beyond seven runs colours come again with another dash: never told apart by colour alone.
export function runLook(place) {
  return { colour: `c${place % 7}`, dash: [[], [7, 3], [2, 2]][Math.floor(place / 7) % 3] };
}

export function faded(hex, share) {
  const found = /^#(..)(..)(..)$/.exec(hex);
  return found ? `rgba(${found.slice(1).map((part) => parseInt(part, 16)).join(", ")}, ${share})` : hex;
}

// Vertical lines for restarts and births of blobs; ticks at the top where values are not finite.
export function drawMarks(u, { restarts = [], born = null, nonfinite = [] }) {
  const { ctx, bbox } = u;
  const pixel = devicePixelRatio || 1;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  const vertical = (at, name, dash) => {
    const x = u.valToPos(at, "x", true);
    ctx.strokeStyle = colour(name);
    ctx.lineWidth = pixel;
    ctx.setLineDash(dash.map((part) => part * pixel));
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  };
  for (const at of restarts) vertical(at, "muted", [3, 3]);
  if (born !== null) {
    vertical(born, "c2", [5, 3]);
    ctx.fillStyle = colour("c2");
    ctx.font = `${10 * pixel}px system-ui, sans-serif`;
    const x = u.valToPos(born, "x", true);
    const right = x > bbox.left + 0.75 * bbox.width;
    ctx.textAlign = right ? "right" : "left";
    ctx.fillText("blobs", x + (right ? -4 : 4) * pixel, bbox.top + 10 * pixel);
  }
  ctx.fillStyle = colour("alarm");
  for (const at of nonfinite) ctx.fillRect(u.valToPos(at, "x", true) - pixel, bbox.top, 2 * pixel, 7 * pixel);
  ctx.restore();
}
