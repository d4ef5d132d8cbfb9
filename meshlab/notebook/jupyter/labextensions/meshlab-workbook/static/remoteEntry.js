/* An extension of JupyterLab without a build: what its loader asks for is an object with `init` and `get`.
 *
 * The handle of an ipywidgets slider is an element of its own, which the slider's description does not label: a screen
 * reader says "slider, 5". And JupyterLab takes the arrows up and down for itself, unless an attribute says otherwise.
 *
 * A link inside a control is none that JupyterLab knows: it would load the whole page anew. One that is marked with
 * `data-lesson` is opened beside what is there.
 */
(() => {
    const name = handles => {
        for (const handle of handles) {
            const label = handle.closest(".widget-slider")?.querySelector(".widget-label")?.textContent.trim();
            if (!label) continue;
            handle.setAttribute("aria-label", label);
            handle.setAttribute("data-lm-suppress-shortcuts", "true");
        }
    };
    const follow = (app, event) => {
        const link = event.target.closest?.("a[data-lesson]");
        const panel = link && [...app.shell.widgets("main")].find(each => each.node.contains(link));
        if (!panel?.context || event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        const path = new URL(link.getAttribute("href"), new URL(encodeURI(panel.context.path), "http://contents/")).pathname;
        app.commands.execute("docmanager:open", { path: decodeURI(path.slice(1)) });
    };
    const activate = app => {
        const look = () => name(document.querySelectorAll(".noUi-handle:not([aria-label])"));
        new MutationObserver(look).observe(document.body, { childList: true, subtree: true });
        document.body.addEventListener("click", event => follow(app, event));
    };
    const plugin = { id: "meshlab-workbook:page", autoStart: true, activate };
    (window._JUPYTERLAB ??= {})["meshlab-workbook"] = {
        init: async () => {},
        get: async () => () => ({ __esModule: true, default: plugin }),
    };
})();
