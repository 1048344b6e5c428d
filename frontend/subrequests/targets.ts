// --call=targets: the stages that can be built.
import type { FrontendClient } from '../client.js';
import type { Location } from '../errors.js';
import { parseInstructions } from '../instructions/parse.js';
import { Linter } from '../lint/linter.js';
import { parse } from '../parser/parse.js';
import type { Dockerfile } from '../ui/context.js';
import { openDockerfile } from '../ui/context.js';
import { base64, encodeJson, locationJson, omitEmpty, table } from './json.js';
import type { Metadata } from './metadata.js';
import { text } from './metadata.js';

export interface Target {
	readonly name: string;
	readonly isDefault: boolean;
	readonly description: string;
	readonly base: string;
	readonly platform: string;
	readonly location: Location;
}

export interface TargetsResult {
	readonly targets: readonly Target[];
	readonly data: Uint8Array;
}

/** The stages of the Dockerfile. */
export async function listTargets(client: FrontendClient, dockerfile?: Dockerfile): Promise<TargetsResult> {
	const { entrypoint: { data } } = dockerfile ?? await openDockerfile(client);
	const { stages } = parseInstructions(parse(Buffer.from(data).toString()).nodes, Linter.create({}, undefined));
	const targets = stages.map((stage, i) => ({
		name: stage.name, isDefault: i === stages.length - 1, description: stage.docComment, base: stage.baseName, platform: stage.platform, location: stage.location,
	}));
	return { targets, data };
}

export function formatTargets({ targets }: TargetsResult): string {
	const rows = targets.map(({ name, isDefault, description }) => [`${name}${isDefault ? `${name === '' ? '' : ' '}(default)` : ''}`, description]);
	return table([['TARGET', 'DESCRIPTION'], ...rows], 1);
}

export function targetsMetadata(result: TargetsResult): Metadata {
	const targets = result.targets.map(({ name, isDefault, description, base, platform, location }) => ({
		...omitEmpty({ name, default: isDefault, description, base, platform }), location: locationJson([location]),
	}));
	return new Map([
		['result.json', encodeJson({ targets: targets.length > 0 ? targets : null, sources: [base64(result.data)] })],
		['result.txt', text(formatTargets(result))],
		['version', text('1.0.0')],
	]);
}
