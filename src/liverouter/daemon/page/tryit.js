// Try it: a prompt to a model, or to one of its deployments alone; the answer comes as it is said.

import { ApiError, stream } from "./api.js";
import { $, h, ms, show } from "./dom.js";
import { tell } from "./words.js";

// The panel; `offer` says what can be asked.
export class TryIt {
	constructor() {
		this.deployments = [];
		$("try").addEventListener("submit", (event) => {
			event.preventDefault();
			if (this.asking) this.asking.abort();
			else this.ask();
		});
		$("try-model").addEventListener("change", () => this.draw());
	}

	// Offer *deployments*, those of OwnStatus; a choice among one is none.
	offer(deployments) {
		this.deployments = deployments;
		this.draw();
	}

	draw() {
		const names = [...new Set(this.deployments.map((one) => one.name))], wanted = $("try-model").value;
		choices($("try-model"), names.map((name) => [name, name]));
		if (names.includes(wanted)) $("try-model").value = wanted;
		const own = this.deployments.filter((one) => one.name === ($("try-model").value || "default")), chosen = $("try-deployment").value;
		choices($("try-deployment"), [["", "as calls go, with failover"], ...own.map((one) => [one.deployment_id, `${one.order}. ${one.provider}/${one.model} alone`])]);
		$("try-deployment").value = own.some((one) => one.deployment_id === chosen) ? chosen : "";
		$("try-model").hidden = names.length < 2;
		$("try-deployment").hidden = own.length < 2;
	}

	async ask() {
		const said = h("p", { class: "said" }), asking = this.asking = new AbortController();
		const body = { prompt: $("prompt").value, name: $("try-model").value || "default", deployment_id: $("try-deployment").value || null, stream: true };
		$("ask").textContent = "Stop";
		$("ask").setAttribute("aria-busy", "true");
		$("answer").replaceChildren(said);
		try {
			for await (const [kind, data] of stream("/api/try", body, asking.signal)) {
				if (kind === "text") said.append(data.text);
				else if (kind === "answer") said.after(facts(data));
				else throw new ApiError(data.status, data);
			}
		} catch (error) {
			if (!(error instanceof ApiError)) throw error;
			$("answer").append(...(asking.signal.aborted ? [h("p", { class: "quiet" }, "Stopped")] : error.problems.map((problem) => h("p", { class: "fault" }, tell(problem)))));
		} finally {
			this.asking = null;
			$("ask").textContent = "Ask";
			$("ask").removeAttribute("aria-busy");
		}
	}
}

const choices = (element, options) => show(element, ...options.map(([value, text]) => h("option", { value }, text)));

const facts = (said) => h("p", { class: "facts" }, h("b", { class: said.failed_over ? "warn" : "good" }, `${said.provider}/${said.model}`),
	said.name !== "default" && h("span", {}, said.name), h("span", {}, said.role), h("span", {}, `revision ${said.revision}`), h("span", {}, ms(said.duration_ms)),
	said.failed_over && h("span", { class: "warn" }, `failed over, ${said.attempts} attempts`), said.cost_usd != null && h("span", {}, `$${Number(said.cost_usd.toPrecision(2))}`));
