// What the builder remembers of the devices it has, so that a device server that died can be replaced: which
// layers each stands on, and which writable layers have to be kept for that.
import type { LowerLayer } from './types.js';

/** A writable layer that was frozen. Its two files are named after it. */
export interface LayerState {
	readonly id: string;
	/** What it stands on, bottom first. */
	readonly lowers: readonly LowerLayer[];
}

export interface DeviceState {
	readonly id: string;
	readonly lowers: readonly LowerLayer[];
	/** The writable layer on top; absent on a read-only device. */
	readonly top?: string;
	/** Names of layers that a seal was to put on top, when its answer has not come. */
	readonly sealing: readonly string[];
}

/** What a new server is told. */
export interface ServedSnapshot {
	readonly devices: readonly DeviceState[];
	/** Each stands on earlier ones. */
	readonly layers: readonly LayerState[];
}

interface Kept extends LayerState {
	/** Devices and layers that stand on it, and one for its owner until that releases it. */
	holders: number;
	released: boolean;
}

export class ServedState {
	readonly #devices = new Map<string, DeviceState & { readonly attached: boolean }>();
	readonly #layers = new Map<string, Kept>();

	/** Whether there is nothing a server would have to have. */
	get isEmpty(): boolean {
		return this.#devices.size === 0 && this.#layers.size === 0;
	}

	/** A device is about to be attached. Fails when a layer it shall stand on was released. */
	attaching(id: string, lowers: readonly LowerLayer[], top: string | undefined): void {
		for (const layer of frozenOf(lowers)) {
			const kept = this.#layers.get(layer);
			if (!kept || kept.released) throw new Error(`frozen layer ${layer} was released`);
		}
		this.#hold(lowers);
		this.#devices.set(id, { id, lowers, sealing: [], attached: false, ...(top !== undefined && { top }) });
	}

	attached(id: string): void {
		this.#change(id, { attached: true });
	}

	sealing(id: string, next: string): void {
		this.#change(id, { sealing: [...(this.#devices.get(id)?.sealing ?? []), next] });
	}

	/** The answer to a seal: the device's top was frozen, and `next` is the new one; or nothing was done. */
	sealed(id: string, next: string, done: boolean): void {
		const device = this.#devices.get(id);
		if (!device) return;
		this.#change(id, { sealing: device.sealing.filter((name) => name !== next) });
		if (!done || device.top === undefined) return;
		this.#hold(device.lowers);
		this.#layers.set(device.top, { id: device.top, lowers: device.lowers, holders: 2, released: false });
		this.#change(id, { lowers: [...device.lowers, { kind: 'frozen', id: device.top }], top: next });
	}

	/** The device is gone, or never came. Returns the frozen layers that nobody needs any more. */
	detached(id: string): string[] {
		const device = this.#devices.get(id);
		this.#devices.delete(id);
		return device ? this.#letGo(device.lowers) : [];
	}

	/** Its owner needs the layer no more. Returns the frozen layers that nobody needs any more. */
	released(id: string): string[] {
		const layer = this.#layers.get(id);
		if (!layer || layer.released) return [];
		layer.released = true;
		return this.#letGo([{ kind: 'frozen', id }]);
	}

	snapshot(): ServedSnapshot {
		const devices = [...this.#devices.values()].filter(({ attached }) => attached);
		return {
			devices: devices.map(({ id, lowers, top, sealing }) => ({ id, lowers, sealing, ...(top !== undefined && { top }) })),
			layers: [...this.#layers.values()].map(({ id, lowers }) => ({ id, lowers })),
		};
	}

	#change(id: string, change: Partial<DeviceState & { readonly attached: boolean }>): void {
		const device = this.#devices.get(id);
		if (device) this.#devices.set(id, { ...device, ...change });
	}

	#hold(lowers: readonly LowerLayer[]): void {
		for (const id of frozenOf(lowers)) {
			const layer = this.#layers.get(id);
			if (layer) layer.holders++;
		}
	}

	#letGo(lowers: readonly LowerLayer[]): string[] {
		const unneeded: string[] = [];
		for (const id of frozenOf(lowers)) {
			const layer = this.#layers.get(id);
			if (!layer || --layer.holders > 0) continue;
			this.#layers.delete(id);
			unneeded.push(id, ...this.#letGo(layer.lowers));
		}
		return unneeded;
	}
}

function frozenOf(lowers: readonly LowerLayer[]): string[] {
	return lowers.flatMap((lower) => (lower.kind === 'frozen' ? [lower.id] : []));
}
