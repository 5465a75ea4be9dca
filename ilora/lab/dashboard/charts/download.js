// Two buttons that save the chart of a given name as it stands on the page, zoom and theme included.

// The link stays off the page: a click on the page, beside the popover, would close it.
function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// The chart of that name once it is drawn; a reader may press faster than a slow machine draws.
async function drawn(name) {
  for (let wait = 0; wait < 100; wait++) {
    const box = document.querySelector(`.ilora-chart[data-name="${CSS.escape(name)}"]`);
    if (box?.layout && window.Plotly) return box;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

export default function ({ data, parentElement }) {
  for (const button of parentElement.querySelectorAll("button")) {
    button.onclick = async () => {
      const box = await drawn(data.name);
      if (!box) return;
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
