// Before anything is painted: the theme that was chosen, so that the page does not flash in the other one.
{
  const chosen = localStorage.getItem("manymodal.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
}
