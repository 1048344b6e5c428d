// --call=outline: what can be said to a build of the target: arguments, secrets, ssh agents.
import type { FrontendClient } from '../client.js';
import { convert } from '../convert/convert.js';
import type { StageState } from '../convert/stage.js';
import { reachableFrom } from '../convert/stage.js';
import type { Location } from '../errors.js';
import { withSource } from '../errors.js';
import type { Dockerfile } from '../ui/context.js';
import { openDockerfile, sourceInfo } from '../ui/context.js';
import { base64, encodeJson, locationJson, omitEmpty, table } from './json.js';
import type { Metadata } from './metadata.js';
import { text } from './metadata.js';

export interface OutlineArg {
	readonly name: string;
	readonly value: string;
	readonly description: string;
	readonly location: Location;
}

export interface OutlineSecret {
	readonly name: string;
	readonly required: boolean;
	readonly location: Location;
}

export interface OutlineResult {
	readonly name: string;
	readonly description: string;
	readonly args: readonly OutlineArg[];
	readonly secrets: readonly OutlineSecret[];
	readonly ssh: readonly OutlineSecret[];
	readonly data: Uint8Array;
}

function collect<T extends { readonly name: string; readonly location: Location }>(target: StageState, of: (stage: StageState) => readonly T[]): T[] {
	const found = new Map<string, T>();
	for (const stage of reachableFrom(target)) {
		for (const item of of(stage)) if (!found.has(item.name)) found.set(item.name, item);
	}
	return [...found.values()].sort((a, b) => a.location.start - b.location.start);
}

function argsOf({ outline }: StageState): OutlineArg[] {
	outline.closeUsed();
	return [...outline.usedArgs].flatMap((name) => {
		const info = outline.allArgs.get(name);
		return info ? [{ name, value: info.value, description: info.definition.docComment, location: info.location }] : [];
	});
}

/** The outline of the target. */
export async function outlineDockerfile(client: FrontendClient, dockerfile?: Dockerfile): Promise<OutlineResult> {
	const { ui, entrypoint } = dockerfile ?? await openDockerfile(client);
	try {
		const { target } = await convert({ ui, sourceMap: entrypoint.sourceMap });
		const asked = (kind: 'secrets' | 'ssh') => (stage: StageState): OutlineSecret[] => [...stage.outline[kind]].map(([name, info]) => ({ name, ...info }));
		return {
			name: target.stage.name,
			description: target.stage.docComment,
			args: collect(target, argsOf),
			secrets: collect(target, asked('secrets')),
			ssh: collect(target, asked('ssh')),
			data: entrypoint.data,
		};
	} catch (error) {
		throw withSource(error, sourceInfo(entrypoint));
	}
}

export function formatOutline(outline: OutlineResult): string {
	const block = (rows: readonly (readonly string[])[], gap: number): string => (rows.length > 0 ? `${table(rows, gap)}\n` : '');
	const head = outline.name === '' && outline.description === '' ? [] : [
		['TARGET:', outline.name || '(default)'],
		...(outline.description === '' ? [] : [['DESCRIPTION:', outline.description]]),
	];
	const args = outline.args.map(({ name, value, description }) => [name, value, description]);
	const asked = (title: string, list: readonly OutlineSecret[]): string[][] =>
		(list.length > 0 ? [[title, 'REQUIRED'], ...list.map(({ name, required }) => [name, required ? 'true' : ''])] : []);
	return block(head, 1)
		+ block(args.length > 0 ? [['BUILD ARG', 'VALUE', 'DESCRIPTION'], ...args] : [], 3)
		+ block(asked('SECRET', outline.secrets), 3)
		+ block(asked('SSH', outline.ssh), 3);
}

export function outlineMetadata(outline: OutlineResult): Metadata {
	const asked = (list: readonly OutlineSecret[]): unknown[] => list.map(({ name, required, location }) => ({ name, ...omitEmpty({ required }), location: locationJson([location]) }));
	const json = omitEmpty({
		name: outline.name,
		description: outline.description,
		args: outline.args.map(({ name, value, description, location }) => ({ name, ...omitEmpty({ description, value }), location: locationJson([location]) })),
		secrets: asked(outline.secrets),
		ssh: asked(outline.ssh),
		sources: [base64(outline.data)],
	});
	return new Map([['result.json', encodeJson(json)], ['result.txt', text(formatOutline(outline))], ['version', text('1.0.0')]]);
}
