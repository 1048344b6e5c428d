// A build: the Dockerfile read, converted once for each platform, and marshalled.
import type { Definition, Platform, SourceInfo } from '../src/llb/index.js';
import { formatPlatformFull, marshal, normalizePlatform, parseReference } from '../src/llb/index.js';
import type { FrontendClient } from './client.js';
import { convert } from './convert/convert.js';
import { LocationError, messageOf, rangesOf, withSource } from './errors.js';
import type { Image } from './image.js';
import { orderImage } from './image.js';
import { detectSyntax } from './parser/directives.js';
import type { LintWarning } from './lint/linter.js';
import type { Entrypoint } from './ui/context.js';
import { Ui } from './ui/context.js';

/** What a Dockerfile comes to on one platform. */
export interface PlatformResult {
	/** Key of the platform where there are several: `linux/amd64`. */
	readonly id: string;
	readonly platform: Platform;
	/** Empty for scratch. */
	readonly definition: Definition;
	/** Members in BuildKit's order; encodeImage gives BuildKit's bytes. rootfs.diff_ids are those of the base, if any. */
	readonly imageConfig: Image;
	/** Config of the image at the bottom, when there is one. */
	readonly baseImageConfig?: Image;
	/** SOURCE_DATE_EPOCH, in seconds. */
	readonly epoch?: number;
}

export interface FrontendResult {
	readonly platforms: readonly PlatformResult[];
	/** Whether the result is to be an index of platforms even if it is one. */
	readonly multiPlatform: boolean;
}

/** The Dockerfile as errors and warnings refer to it. */
export function sourceInfo({ sourceMap }: Entrypoint): SourceInfo {
	return { filename: sourceMap.filename, language: sourceMap.language, data: sourceMap.data, definition: sourceMap.definition };
}

function warn(client: FrontendClient, entrypoint: Entrypoint, { rule, message, location }: LintWarning): void {
	const ranges = rangesOf(location).map(({ start, end }) => ({ start: start ?? { line: 0, character: 0 }, end: end ?? { line: 0, character: 0 } }));
	client.warn({
		vertex: entrypoint.vertex,
		level: 1,
		short: `${rule.name}: ${message}${location.start > 0 ? ` (line ${location.start})` : ''}`,
		detail: [rule.description],
		url: rule.url,
		sourceInfo: sourceInfo(entrypoint),
		ranges,
	});
}

async function buildPlatform(ui: Ui, entrypoint: Entrypoint, targetPlatform: Platform | undefined, first: boolean): Promise<PlatformResult> {
	const { target, epoch } = await convert({
		ui,
		sourceMap: entrypoint.sourceMap,
		...(targetPlatform ? { targetPlatform } : {}),
		// The other platforms would only say the same again.
		...(first ? { warn: (warning: LintWarning) => warn(ui.client, entrypoint, warning) } : {}),
	});
	let definition: Definition;
	try {
		definition = marshal(target.state, { platform: targetPlatform ?? ui.config.buildPlatform, ...(ui.client.llbCaps ? { caps: ui.client.llbCaps } : {}) });
	} catch (error) {
		throw new Error(`failed to marshal LLB definition: ${messageOf(error)}`, { cause: error });
	}
	const platform = exportPlatform(targetPlatform ?? ui.config.buildPlatform, target.image);
	return {
		id: formatPlatformFull(normalizePlatform(targetPlatform ?? ui.config.buildPlatform)),
		platform,
		definition,
		imageConfig: orderImage(target.image),
		...(target.baseImage ? { baseImageConfig: orderImage(target.baseImage) } : {}),
		...(epoch === undefined ? {} : { epoch }),
	};
}

/** A Windows image says more of the system it is for than a build can ask for. */
function exportPlatform(platform: Platform, image: Image): Platform {
	const normal = normalizePlatform(platform);
	if (normal.os !== 'windows' || image.os !== 'windows') return normal;
	return normalizePlatform({
		...normal,
		...(normal.osVersion || !image['os.version'] ? {} : { osVersion: image['os.version'] }),
		...(normal.osFeatures || !image['os.features'] ? {} : { osFeatures: image['os.features'] }),
	});
}

/** Frontends this one stands in for: every version of Docker's own. */
const ownFrontends = new Set(['docker.io/docker/dockerfile', 'docker.io/docker/dockerfile-upstream']);

function isOwn(ref: string): boolean {
	try {
		const { domain, path } = parseReference(ref);
		return ownFrontends.has(`${domain}/${path}`);
	} catch {
		return false;
	}
}

/** A Dockerfile may ask for another frontend. `cmdline` says that it was asked for already and is us. */
function checkSyntax({ opts }: FrontendClient, entrypoint: Entrypoint): void {
	if (opts['cmdline'] !== undefined) return;
	const argument = opts['build-arg:BUILDKIT_SYNTAX'];
	const syntax = argument === undefined ? detectSyntax(Buffer.from(entrypoint.data).toString()) : undefined;
	const ref = argument === undefined ? syntax?.value : argument.trim().split(' ', 1)[0];
	if (ref === undefined || isOwn(ref)) return;
	const message = `frontend ${ref} cannot be run: this builder has docker/dockerfile built in and runs no other; remove ${syntax ? 'the syntax directive' : 'BUILDKIT_SYNTAX'}`;
	throw syntax ? withSource(new LocationError(message, [syntax.location]), sourceInfo(entrypoint)) : new Error(message);
}

/**
 * Builds a Dockerfile: `client.opts` says which and how.
 * @throws FrontendError with BuildKit's text and the places in the Dockerfile; Error where no place is to blame.
 */
export async function buildDockerfile(client: FrontendClient): Promise<FrontendResult> {
	const ui = new Ui(client);
	const entrypoint = await ui.readEntrypoint();
	checkSyntax(client, entrypoint);
	const { targetPlatforms, multiPlatform } = ui.config;
	const targets = targetPlatforms.length > 0 ? targetPlatforms : [undefined];
	try {
		const platforms = await Promise.all(targets.map((platform, i) => buildPlatform(ui, entrypoint, platform, i === 0)));
		return { platforms, multiPlatform };
	} catch (error) {
		throw withSource(error, sourceInfo(entrypoint));
	}
}
