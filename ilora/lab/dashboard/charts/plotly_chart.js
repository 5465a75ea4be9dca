// Draws a Plotly figure and, when new data come, changes it in place (Plotly.react): nothing flickers, zoom and hover stay.
// Colours and fonts that the figure leaves open come from Streamlit's theme, and follow it when light turns dark.

function plotly(file) {
  if (window.Plotly) return Promise.resolve(window.Plotly);
  const base = document.querySelector('script[src*="static/js/"]').src;
  return import(new URL(file, base).href).then(() => window.Plotly);
}

function theme(box) {
  const style = getComputedStyle(box);
  const token = (name) => style.getPropertyValue(`--st-${name}`).trim();
  const colours = token("chart-sequential-colors").split(",");
  const text = token("text-color");
  const line = token("border-color");
  const axis = { gridcolor: token("border-color-light") || line, linecolor: line, tickcolor: line, title: { font: { size: 13 } } };
  return {
    data: { heatmap: [{ colorscale: colours.map((colour, i) => [i / (colours.length - 1), colour]) }] },
    layout: {
      font: { family: token("font"), color: text },
      xaxis: { ...axis, showgrid: false },
      yaxis: axis,
      modebar: { bgcolor: token("background-color"), color: token("gray-text-color") || text, activecolor: text },
      hoverlabel: { bgcolor: token("background-color"), bordercolor: token("border-color"), font: { color: text, family: token("font") } },
    },
  };
}

function draw(box) {
  const { figure, file, name } = box.ilora;
  const { data, layout } = JSON.parse(figure);
  const config = {
    responsive: true,
    displaylogo: false,
    scrollZoom: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    toImageButtonOptions: { filename: name, scale: 2 },
  };
  return plotly(file).then((Plotly) => Plotly.react(box, data, { ...layout, autosize: true, template: theme(box) }, config));
}

// A trace that stands for clients says in `meta` which client each of its points is.
function listen(box) {
  const client = ({ points: [point] }) => point.data.meta?.[point.pointNumber];
  box.on("plotly_click", (event) => client(event) !== undefined && box.ilora.choose(client(event)));
  box.on("plotly_hover", (event) => box.classList.toggle("at-client", client(event) !== undefined));
  box.on("plotly_unhover", () => box.classList.remove("at-client"));
}

export default function ({ data, parentElement, setTriggerValue }) {
  const box = parentElement.querySelector(".ilora-chart");
  const first = !box.ilora;
  const same = box.ilora?.figure === data.figure;  // a live page says every second what it shows
  box.ilora = { ...data, choose: (client) => setTriggerValue("client", client) };
  box.style.height = `${data.height}px`;
  box.dataset.name = data.name;
  box.setAttribute("role", "figure");
  box.setAttribute("aria-label", data.alt);
  if (same) return;
  draw(box).then(() => first && data.clicks && listen(box)).catch(() => { box.textContent = data.alt; });
  if (!first) return;
  new ResizeObserver(() => window.Plotly && box.clientWidth && window.Plotly.Plots.resize(box)).observe(box);
  box.addEventListener("transitionend", (event) => { if (event.target === box) draw(box); });
}
