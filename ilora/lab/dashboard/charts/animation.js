
// A film: one figure after the other with its caption, on buttons; it plays once by itself unless the reader wants no motion.
export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".ilora-film");
  if (root.dataset.made) return;
  root.dataset.made = "yes";
  const box = root.querySelector(".ilora-chart");
  const caption = root.querySelector("p");
  const [back, play, next] = root.querySelectorAll("button");
  const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  const last = data.frames.length - 1;
  let at = still ? last : 0;
  let timer = 0;
  box.style.height = `${data.height}px`;
  box.setAttribute("role", "figure");

  function show(index) {
    at = Math.max(0, Math.min(index, last));
    box.ilora = { figure: data.frames[at].figure, file: data.file, name: "film" };
    box.setAttribute("aria-label", data.frames[at].caption);
    caption.textContent = data.frames[at].caption.replace(/(\d) (%|MB)/g, "$1\u00a0$2"); // a number and its unit stay on one line
    back.disabled = at === 0;
    next.disabled = at === last;
    draw(box).catch(() => { box.textContent = data.alt; });
  }
  function run(on) {
    clearInterval(timer);
    timer = 0;
    play.textContent = on ? "Pause" : at === last ? "Play again" : "Play";
    if (on) timer = setInterval(() => { if (!root.isConnected) return clearInterval(timer); show(at + 1); if (at === last) run(false); }, data.milliseconds);
  }
  back.onclick = () => { show(at - 1); run(false); };
  next.onclick = () => { show(at + 1); run(false); };
  play.onclick = () => { const on = !timer; if (on && at === last) show(0); run(on); };
  show(at);
  run(!still);
  new ResizeObserver(() => window.Plotly && box.clientWidth && box.data && window.Plotly.Plots.resize(box)).observe(box);
  box.addEventListener("transitionend", (event) => { if (event.target === box) show(at); });
}
