/* An extension of JupyterLab without a build: what its loader asks for is an object with `init` and `get`.
 *
 * The handle of an ipywidgets slider is an element of its own, which the slider's description does not label: a screen
 * reader says "slider, 5". And JupyterLab takes the arrows up and down for itself, unless an attribute says otherwise.
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
    const activate = () => {
        const look = () => name(document.querySelectorAll(".noUi-handle:not([aria-label])"));
        new MutationObserver(look).observe(document.body, { childList: true, subtree: true });
    };
    const plugin = { id: "meshlab-sliders:names", autoStart: true, activate };
    (window._JUPYTERLAB ??= {})["meshlab-sliders"] = {
        init: async () => {},
        get: async () => () => ({ __esModule: true, default: plugin }),
    };
})();
