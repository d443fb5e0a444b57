"""The style sheet of the comparison's page: for phones, screens and paper, light and dark."""

from evaluation import charts

STYLE = (
    """
:root { color-scheme: light dark; --ink: #1d2126; --paper: #fff; --faint: #5b646e; --line: #d9dee3; --wash: #f3f5f7;
  --good: #e4f3ea }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e4e7ea; --paper: #14171a; --faint: #a0a9b2;
  --line: #333b43; --wash: #1e2328; --good: #17382a } }
* { box-sizing: border-box }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100% }
body { margin: 0 auto; padding: 1rem clamp(.8rem, 3vw, 2rem) 3rem; max-width: 72rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  overflow-wrap: anywhere }
h1 { font-size: clamp(1.5rem, 5vw, 2.1rem); line-height: 1.2; margin: .3em 0 .4em }
h2 { font-size: 1.3rem; margin: 2.2em 0 .5em; padding-top: .5em; border-top: 1px solid var(--line) }
h3 { font-size: 1rem; margin: 1.2em 0 .4em }
p { max-width: 44rem; margin: .5em 0 }
.faint, figcaption, .note { color: var(--faint) }
.note { font-size: .88rem }
.verdict { background: var(--wash); border-left: 4px solid var(--s0); padding: .8em 1em; margin: 1em 0;
  max-width: none; font-size: 1.05rem; print-color-adjust: exact; -webkit-print-color-adjust: exact }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 23rem), 1fr)); gap: 1.5rem 2rem;
  align-items: start }
.charts > figure { max-width: 36rem }
figure { margin: 0; min-width: 0; break-inside: avoid }
figcaption { font-size: .88rem; margin-top: .3em }
figure > h3 { margin-top: 0 }
.wide { overflow-x: auto; margin: .8em 0 }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; overflow-wrap: normal }
caption { text-align: left; color: var(--faint); padding-bottom: .4em }
th, td { padding: .35em .7em; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top;
  white-space: nowrap }
thead th { border-bottom: 2px solid var(--line); vertical-align: bottom; font-weight: 600 }
th[scope=row], thead th:first-child { text-align: left; position: sticky; left: 0; background: var(--paper);
  white-space: normal; min-width: 6.5rem; max-width: 14rem; overflow-wrap: anywhere }
th[scope=row]::before { content: ""; display: inline-block; width: .7em; height: .7em; border-radius: 2px;
  margin-right: .4em; background: var(--c, transparent); print-color-adjust: exact; -webkit-print-color-adjust: exact }
th.plain::before { display: none }
td small { display: block; color: var(--faint) }
td.best { background: var(--good); font-weight: 600; print-color-adjust: exact; -webkit-print-color-adjust: exact }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 9.5rem), 1fr)); gap: 1rem }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .6rem 1rem; margin: 1rem 0 1.6rem; break-inside: avoid;
  align-items: start }
.pair > p { grid-column: 1 / -1; margin: 0 }
.pair img { max-height: 30rem; width: auto }
@media screen and (max-width: 36rem) { .pair { grid-template-columns: 1fr } .pair img { max-height: 24rem } }
img { display: block; max-width: 100%; height: auto; background: var(--wash) }
.key span { white-space: nowrap; margin-right: 1em }
.key i { display: inline-block; width: 1.5em; height: 1.1em; margin-right: .4em; vertical-align: -.2em;
  border: 2px solid; background: #3a3f45; print-color-adjust: exact; -webkit-print-color-adjust: exact }
.key .found { border-color: #3cc85a } .key .missed { border: 2px dashed #e678ff } .key .alarm { border-color: #f03c28 }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; gap: .3em 1em; margin: .5em 0 }
dt { font-weight: 600 } dd { margin: 0 }
code { font-size: .9em }
@media (max-width: 30rem) { dl { grid-template-columns: 1fr } dd { margin-bottom: .5em }
  th, td { padding: .35em .5em } }
details summary { cursor: pointer; color: var(--faint); font-size: .88rem; margin-top: .4em }
@media print { @page { margin: 14mm } body { font-size: 10pt; padding: 0; max-width: none } .wide { overflow: visible }
  table { font-size: 7.5pt } th, td { padding: .25em .35em } th[scope=row], thead th:first-child { position: static;
  min-width: 0 } h2, h3 { break-after: avoid } tr { break-inside: avoid } .charts { grid-template-columns: 1fr 1fr }
  .pictures { grid-template-columns: repeat(5, 1fr) } .pair img { max-height: 70mm }
  details::details-content { content-visibility: visible; block-size: auto } }
"""
    + charts.STYLE
)
