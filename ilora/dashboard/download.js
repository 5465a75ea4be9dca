// Two buttons that save the chart of a given name as it stands on the page, zoom and theme included.

// The link stays off the page: a click on the page, beside the popover, would close it.
function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

export default function ({ data, parentElement }) {
  for (const button of parentElement.querySelectorAll("button")) {
    button.onclick = () => {
      const box = document.querySelector(`.ilora-chart[data-name="${CSS.escape(data.name)}"]`);
      if (!box || !window.Plotly) return;
      const ground = getComputedStyle(box).getPropertyValue("--st-background-color").trim() || "#fff";
      const layout = { ...box.layout, paper_bgcolor: ground, width: box.clientWidth, height: box.clientHeight };
      const figure = { data: box.data, layout, config: { staticPlot: true } };
      const size = { width: box.clientWidth, height: box.clientHeight, scale: 2 };
      window.Plotly.toImage(figure, { format: button.value, ...size })
        .then((url) => fetch(url)).then((answer) => answer.blob())
        .then((blob) => save(blob, `${data.name}.${button.value}`));
    };
  }
}
