// --output, --push and --load: where the result goes.
import { stat } from 'node:fs/promises';
import type { ExportRequest } from '../../builder/index.js';
import { csvFields } from '../../../frontend/text/csv.js';
import { parseReference } from '../../image/index.js';
import { parseBool } from './flag-set.js';

export interface OutputFlags {
	readonly outputs: readonly string[];
	readonly push: boolean;
	/** Load the image into docker; its archive is written to `loadPath`. */
	readonly load: boolean;
	readonly loadPath: string;
	readonly tags: readonly string[];
	readonly stdoutIsTerminal: boolean;
	/** `--call`: nothing is exported unless asked for. */
	readonly isCall: boolean;
}

/** What an `--output` value says, before its defaults. */
interface Entry {
	type: string;
	destination: string | undefined;
	readonly attributes: Record<string, string>;
}

/** The exports of a build, destinations checked. Without any flag the image stays in obd's store. */
export async function parseOutputs(flags: OutputFlags): Promise<readonly ExportRequest[]> {
	const entries = flags.outputs.filter((value) => value !== '').map(parseEntry).map(registryAsImage);
	if (flags.push) addPush(entries);
	if (flags.load && !entries.some((entry) => entry.type === 'docker' && entry.destination === undefined)) {
		entries.push({ type: 'docker', destination: undefined, attributes: {} });
	}
	if (entries.length === 0 && !flags.isCall) entries.push({ type: 'image', destination: undefined, attributes: {} });

	const exports: ExportRequest[] = [];
	for (const entry of entries.filter(({ type }) => type !== 'cacheonly')) exports.push(await complete(entry, flags.loadPath));
	checkStdout(exports, flags.stdoutIsTerminal);
	return exports.map((one) => withNames(one, flags.tags));
}

/** Whether an export's file is to be given to docker afterwards. */
export function isLoad(request: ExportRequest, loadPath: string): boolean {
	return request.type === 'docker' && request.destination === loadPath;
}

function parseEntry(value: string): Entry {
	const fields = csvFields(value);
	if (fields.length === 1 && fields[0] === value && !value.startsWith('type=')) {
		return value === '-' ? { type: 'tar', destination: '-', attributes: {} } : { type: 'local', destination: value, attributes: {} };
	}
	const entry: Entry = { type: '', destination: undefined, attributes: {} };
	for (const field of fields) {
		const equals = field.indexOf('=');
		if (equals < 0) throw new Error(`invalid value ${field}`);
		const key = field.slice(0, equals).toLowerCase().trim();
		const text = field.slice(equals + 1);
		if (key === 'type') entry.type = text;
		else if (key === 'dest') entry.destination = text === '' ? undefined : text;
		else entry.attributes[key] = text;
	}
	if (entry.type === '') throw new Error('type is required for output');
	return entry;
}

function registryAsImage(entry: Entry): Entry {
	return entry.type === 'registry' ? { ...entry, type: 'image', attributes: { ...entry.attributes, push: 'true' } } : entry;
}

function addPush(entries: Entry[]): void {
	const images = entries.filter(({ type }) => type === 'image');
	for (const image of images) image.attributes['push'] = 'true';
	if (images.length === 0) entries.push({ type: 'image', destination: undefined, attributes: { push: 'true' } });
}

async function complete({ type, destination, attributes }: Entry, loadPath: string): Promise<ExportRequest> {
	switch (type) {
		case 'image':
			if (destination !== undefined) throw new Error('dest is not an option of the image exporter; use type=oci or type=docker for a file');
			return { type, attributes };
		case 'local':
			return { type, attributes, destination: await directory(type, destination) };
		case 'tar':
			return { type, attributes, destination: await file(destination ?? '-') };
		case 'oci':
		case 'docker':
			if (parseBool(attributes['tar'] ?? 'true') === false) return { type, attributes, destination: await directory(type, destination) };
			return { type, attributes, destination: await file(destination ?? (type === 'docker' ? loadPath : '-')) };
		default:
			throw new Error(`exporter ${JSON.stringify(type)} could not be found: obd has image, registry, oci, docker, local, tar and cacheonly`);
	}
}

async function directory(type: string, destination: string | undefined): Promise<string> {
	if (destination === undefined) throw new Error(`dest is required for ${type} exporter`);
	if (destination === '-') throw new Error(`dest cannot be stdout for ${type} exporter`);
	const stats = await statIfThere(destination, 'directory');
	if (stats && !stats.isDirectory()) throw new Error(`destination directory ${destination} is a file`);
	return destination;
}

async function file(destination: string): Promise<string> {
	if (destination === '-') return destination;
	if ((await statIfThere(destination, 'file'))?.isDirectory()) throw new Error(`destination file ${destination} is a directory`);
	return destination;
}

async function statIfThere(destination: string, what: string): Promise<Awaited<ReturnType<typeof stat>> | undefined> {
	return stat(destination).catch((error: NodeJS.ErrnoException) => {
		if (error.code === 'ENOENT') return undefined;
		throw new Error(`invalid destination ${what}: ${destination}: ${error.message}`);
	});
}

function checkStdout(exports: readonly ExportRequest[], isTerminal: boolean): void {
	const toStdout = exports.filter(({ destination }) => destination === '-');
	if (toStdout.length > 1) throw new Error('multiple outputs configured to write to stdout');
	const [first] = toStdout;
	if (first && isTerminal) throw new Error(`dest file is required for ${first.type} exporter. refusing to write to console`);
}

/** Tags name every image that is exported; without tags the `name` attribute does. */
function withNames(request: ExportRequest, tags: readonly string[]): ExportRequest {
	if (!['image', 'oci', 'docker'].includes(request.type)) return request;
	if (tags.length > 0) return { ...request, attributes: { ...request.attributes, name: tags.map(checkedTag).join(',') } };
	if (request.type === 'image' && !request.attributes['name'] && parseBool(request.attributes['push'] ?? '') === true) {
		throw new Error('tag is needed when pushing to registry');
	}
	return request;
}

function checkedTag(tag: string): string {
	try {
		parseReference(tag);
		return tag;
	} catch (error) {
		throw new Error(`invalid tag ${JSON.stringify(tag)}: ${(error as Error).message}`, { cause: error });
	}
}
