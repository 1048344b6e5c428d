// A build: the Dockerfile read, converted once for each platform, and marshalled.
import type { Definition, Platform } from '../src/llb/index.js';
import { formatPlatformFull, marshal, normalizePlatform } from '../src/llb/index.js';
import type { FrontendClient } from './client.js';
import { convert } from './convert/convert.js';
import { messageOf, rangesOf, withSource } from './errors.js';
import type { Image } from './image.js';
import { orderImage } from './image.js';
import type { LintWarning } from './lint/linter.js';
import { refuseOtherFrontend } from './other-frontend.js';
import type { Dockerfile, Entrypoint, Ui } from './ui/context.js';
import { openDockerfile, sourceInfo } from './ui/context.js';

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

/**
 * Builds a Dockerfile: `client.opts` says which and how.
 * @throws FrontendError with BuildKit's text and the places in the Dockerfile; Error where no place is to blame.
 */
export async function buildDockerfile(client: FrontendClient, dockerfile?: Dockerfile): Promise<FrontendResult> {
	const { ui, entrypoint } = dockerfile ?? await openDockerfile(client);
	if (!dockerfile) refuseOtherFrontend(client, entrypoint);
	const { targetPlatforms, multiPlatform } = ui.config;
	const targets = targetPlatforms.length > 0 ? targetPlatforms : [undefined];
	try {
		const platforms = await Promise.all(targets.map((platform, i) => buildPlatform(ui, entrypoint, platform, i === 0)));
		return { platforms, multiPlatform };
	} catch (error) {
		throw withSource(error, sourceInfo(entrypoint));
	}
}
