// The views, in the order of the bar. A view is loaded when it is first gone to.
export const VIEWS = [
  { name: "chat", title: "Chat", load: () => import("./chat.js") },
  { name: "search", title: "Search", load: () => import("./search.js") },
  { name: "library", title: "Library", load: () => import("./library.js") },
  { name: "status", title: "Status", load: () => import("./status.js") },
];
