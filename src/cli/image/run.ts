// Commands that attach an image: run, mount, convert. They need root, as mounts and containers do.
import { readFile } from 'node:fs/promises';
import type { OpenedImage } from '../../builder/index.js';
import { hostSettings } from '../config-file.js';
import { deviceChoice } from '../device-choice.js';
import { formatBytes } from '../layer-report.js';
import { interruption, platformOf, type StoreFlags } from './options.js';

interface Attached {
	readonly image: OpenedImage;
	readonly builder: import('../../builder/index.js').Builder;
	readonly signal: AbortSignal;
	/** Seconds from the start until the image could be mounted. */
	readonly seconds: number;
}

async function withImage(reference: string, flags: StoreFlags, use: (attached: Attached) => Promise<void>): Promise<void> {
	const { Builder, openImage } = await import('../../builder/index.js');
	const signal = interruption();
	const started = performance.now();
	const { hosts, device } = await hostSettings(flags.config);
	const builder = await Builder.open({ root: flags.root, insecureRegistries: flags['insecure-registry'], deviceKind: deviceChoice(flags.device, device), hosts });
	try {
		const image = await openImage(builder, reference, platformOf(flags), signal);
		await use({ image, builder, signal, seconds: (performance.now() - started) / 1000 });
	} finally {
		await builder.close();
	}
}

async function report({ image, builder }: Attached, text: string): Promise<void> {
	const fetched = Object.values(await builder.fetched()).reduce((sum, bytes) => sum + bytes, 0);
	const share = image.size > 0 ? ((100 * fetched) / image.size).toFixed(1) : '0';
	console.error(`${text}; fetched ${formatBytes(fetched)} of ${formatBytes(image.size)} (${share} %)`);
}

/** Runs the image's command, or another, in a container on a writable layer that is thrown away. */
export async function run(reference: string, args: readonly string[], flags: StoreFlags): Promise<void> {
	const { runImage } = await import('../../builder/index.js');
	await withImage(reference, flags, async (attached) => {
		const { image, builder, signal } = attached;
		const started = performance.now();
		try {
			await runImage(builder, image, { args, onOutput: toOutputs, signal });
		} finally {
			const seconds = (performance.now() - started) / 1000;
			await report(attached, `${image.reference}: attached and run in ${seconds.toFixed(2)} s after ${attached.seconds.toFixed(2)} s to resolve it`);
		}
	});
}

/** Mounts the image read-only until Ctrl-C. */
export async function mount(reference: string, directory: string, flags: StoreFlags): Promise<void> {
	const { mountImage } = await import('../../builder/index.js');
	await withImage(reference, flags, async (attached) => {
		const { image, builder, signal } = attached;
		await mountImage(builder, image, directory, signal, () => { console.error(`${image.reference} is mounted at ${directory}; Ctrl-C unmounts it`); });
		await report(attached, 'unmounted');
	});
}

export interface RecordFlags extends StoreFlags {
	/** Seconds. */
	readonly time: number;
	readonly priority_list: string | undefined;
}

/** Runs the image and pushes it with a trace of what that read, or with a list of files. */
export async function recordTrace(reference: string, target: string, args: readonly string[], flags: RecordFlags): Promise<void> {
	const builder = await import('../../builder/index.js');
	if (!(flags.time > 0)) throw new Error("time can't be 0");
	if (flags.priority_list !== undefined && args.length > 0) throw new Error("command args and priority_list can't be set at the same time");
	const priorityList = flags.priority_list === undefined ? undefined : await readPriorityList(flags.priority_list);
	await withImage(reference, flags, async ({ image, builder: opened, signal }) => {
		const digest = await builder.recordTrace(opened, image, target, {
			args, signal, platform: platformOf(flags), timeLimit: flags.time * 1000, onOutput: toOutputs, ...(priorityList && { priorityList }),
		});
		console.log(`${target}@${digest}`);
	});
}

/** Readers take no longer ones. */
const maxPriorityList = 64 * 1024;

async function readPriorityList(file: string): Promise<Uint8Array> {
	const list = await readFile(file);
	if (list.length > maxPriorityList) throw new Error(`${file}: ${list.length} bytes; a list of files may have ${maxPriorityList}`);
	const relative = list.toString().split('\n').map((line) => line.trim()).find((line) => line !== '' && !line.startsWith('/'));
	if (relative !== undefined) throw new Error(`${file}: ${relative} is no absolute path`);
	return list;
}

function toOutputs(stream: 1 | 2, data: Uint8Array): void {
	(stream === 1 ? process.stdout : process.stderr).write(data);
}

/** Makes an overlaybd image of an ordinary one and pushes it. */
export async function convert(reference: string, target: string, flags: StoreFlags): Promise<void> {
	const { convertImage } = await import('../../builder/index.js');
	await withImage(reference, flags, async ({ image, builder, signal }) => {
		const digest = await convertImage(builder, image, target, platformOf(flags), signal);
		console.log(`${target}@${digest}`);
	});
}
