"""How the page looks, and the few lines of JavaScript that sort a table."""

STYLE = """
:root { color-scheme: light }
body { font: 16px/1.5 system-ui, "DejaVu Sans", Verdana, sans-serif; color: #222; margin: 2rem auto;
  max-width: 75rem; padding: 0 1.5rem; overflow-wrap: anywhere }
h1 { font-size: 1.6rem; margin-bottom: 0.2rem }
h2 { font-size: 1.2rem; margin: 2.2rem 0 0.6rem; border-bottom: 1px solid #ccc }
h3 { font-size: 1rem; margin: 0 0 0.3rem }
.lead { color: #555; margin-top: 0 }
.advice { border-left: 4px solid #d55e00; background: #fdf4ee; padding: 0.6rem 1rem 0.6rem 2rem }
.advice li { margin: 0.4rem 0 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.2rem 1.2rem; margin: 0 }
dt { color: #555 }
dd { margin: 0 }
.scroll { overflow: auto; max-height: 36rem; border: 1px solid #ccc }
table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums }
.scroll table { width: 100% }
th, td { padding: 0.2rem 0.7rem; text-align: right; max-width: 22rem; vertical-align: top }
th, td { overflow-wrap: break-word }
.words { text-align: left }
th { background: #eee; vertical-align: bottom }
.scroll th { position: sticky; top: 0 }
th button { all: unset; cursor: pointer; font-weight: bold }
th button:focus-visible { outline: 2px solid #0072b2 }
th[aria-sort=ascending] button::after { content: " \\25b2" }
th[aria-sort=descending] button::after { content: " \\25bc" }
tbody tr:nth-child(even) { background: #f7f7f7 }
figure { margin: 0 0 2rem }
figcaption { color: #555; font-size: 0.9rem; max-width: 60rem }
svg { max-width: 100%; height: auto; display: block }
svg * { stroke-linejoin: round; stroke-linecap: butt }
@media print { .scroll { max-height: none; overflow: visible } }
""".strip()

# Numbers in their order, words in theirs, and where there is nothing last. A click on the same head
# turns the order round.
SORTING = """
for (const table of document.querySelectorAll("#members")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const turned = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      const text = row => row.cells[column].textContent.trim();
      const compared = (a, b) => {
        const x = text(a), y = text(b);
        if (x === "" || y === "") return (x === "") - (y === "");
        const noX = Number.isNaN(Number(x)), noY = Number.isNaN(Number(y));
        if (noX || noY) return turned * (noX - noY || x.localeCompare(y));
        return turned * (Number(x) - Number(y));
      };
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", turned === 1 ? "ascending" : "descending");
      body.append(...[...body.rows].sort(compared));
    });
  });
}
""".strip()
