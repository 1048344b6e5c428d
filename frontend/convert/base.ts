// What the stages of a Dockerfile stand on: images, scratch, and contexts in place of either.
import type { Platform } from '../../src/llb/index.js';
import { formatPlatformFull, formatReference, image as imageState, parseReference, scratch, withDefaultTag } from '../../src/llb/index.js';
import { messageOf, withLocation } from '../errors.js';
import type { Image } from '../image.js';
import { cloneImage, decodeImage, emptyImage, platformOfImage } from '../image.js';
import type { Linter } from '../lint/linter.js';
import { emptyEnv } from '../shell/lex.js';
import { quote } from '../text/format.js';
import { withSuggestion } from '../text/suggest.js';
import type { NamedContext } from '../ui/named-context.js';
import { followPathsOf, imageSource } from '../ui/named-context.js';
import type { Platforms } from './args.js';
import { checkBasePlatform } from './checks.js';
import { located } from './context.js';
import type { ConvertOptions } from './convert.js';
import { stepName } from './names.js';
import type { Stages, StageState } from './stage.js';

export const scratchName = 'scratch';

/** Names people mean when they mistype a base image. */
const commonImages = ['alpine', 'busybox', 'centos', 'debian', 'golang', 'ubuntu', 'fedora'].flatMap((name) => [
	name, `docker.io/library${name}`, `${name}:latest`, `docker.io/library${name}:latest`,
]);

export class BaseResolver {
	constructor(
		private readonly options: ConvertOptions,
		private readonly platforms: Platforms,
		private readonly stages: Stages,
		private readonly lint: Linter,
	) {}

	/** What --build-context has under a name, if anything. */
	namedContext(name: string, platform: Platform | undefined, state: StageState): NamedContext | undefined {
		if (['scratch', 'context'].includes(name.toLowerCase())) return undefined;
		return this.options.ui.namedContext(name, {
			platform: platform ?? this.options.targetPlatform ?? this.platforms.build,
			resolveMode: this.options.ui.config.resolveMode,
			followPaths: () => followPathsOf(state.paths),
		});
	}

	/** Finds the base of a stage, unless that is another stage. Only that of one that is needed is asked for. */
	async resolve(stage: StageState, reachable: boolean): Promise<void> {
		if (stage.base || stage.dispatched || stage.resolved) return;
		// Not asked for again when triggers make another round necessary.
		stage.resolved = reachable;
		if (stage.baseName === scratchName && !stage.namedContext) {
			stage.state = scratch();
			stage.image = emptyImage(this.platforms.target);
			stage.platform = this.platforms.target;
			stage.dispatched = stage.unregistered;
			return;
		}
		try {
			await this.resolveImage(stage, reachable);
		} catch (error) {
			throw withLocation(error, stage.stage.location);
		} finally {
			stage.dispatched ||= stage.unregistered;
		}
	}

	private async resolveImage(stage: StageState, reachable: boolean): Promise<void> {
		const written = stage.baseName;
		const platform = stage.platform ?? this.platforms.target;
		let reference;
		try {
			reference = parseReference(written);
		} catch (error) {
			throw new Error(`failed to parse stage name ${quote(written)}: ${messageOf(error)}`, { cause: error });
		}
		stage.baseName = formatReference(withDefaultTag(reference));
		if (!reachable) {
			this.setBase(stage, platform);
			return;
		}
		if (stage.namedContext) {
			await this.replaceStage(stage, stage.namedContext);
			return;
		}
		const context = this.namedContext(stage.baseName, platform, stage);
		if (context) {
			const loaded = await context.load();
			const image = loaded.image ?? emptyImage(platform);
			this.setImage(stage, image);
			stage.state = loaded.state.platform(platform);
			stage.platform = platform;
			return;
		}
		await this.pull(stage, written, platform);
	}

	/** The whole stage is what --build-context says. */
	private async replaceStage(stage: StageState, context: NamedContext): Promise<void> {
		const { state, image } = await context.load();
		stage.dispatched = true;
		stage.state = state;
		if (!image) return;
		stage.image = cloneImage(image);
		delete stage.image.created;
		if (image.architecture !== '' && image.os !== '') stage.platform = platformOfImage(image);
	}

	private setImage(stage: StageState, image: Image): void {
		stage.baseImage = image;
		stage.image = cloneImage(image);
		delete stage.image.created;
	}

	private async pull(stage: StageState, written: string, wanted: Platform): Promise<void> {
		const { ui } = this.options;
		const { multiPlatform, resolveMode } = ui.config;
		const prefix = `[${multiPlatform ? `${formatPlatformFull(wanted)} ` : ''}internal]`;
		const logName = `${prefix} load metadata for ${stage.baseName}`;
		let meta;
		try {
			meta = await ui.resolveImage(imageSource(stage.baseName), { platform: wanted, resolveMode, logName });
		} catch (error) {
			const message = `${written}: ${messageOf(error)}`;
			throw new Error(withSuggestion(message, written, [...this.stages.names(), ...commonImages], true), { cause: error });
		}
		const image = decodeImage(meta.config);
		this.setImage(stage, image);
		const platform = !stage.platform && this.platforms.implicitTarget ? this.detectPlatform(image, wanted) : wanted;
		const { digest: _pinned, ...reference } = parseReference(meta.ref);
		stage.baseName = formatReference(meta.digest === '' ? parseReference(meta.ref) : { ...reference, digest: meta.digest });
		const empty = !image.rootfs.diff_ids?.length && (image.history ?? []).every((entry) => entry.empty_layer);
		if (empty) {
			stage.state = scratch();
			stage.platform = platform;
			return;
		}
		this.setBase(stage, platform);
		checkBasePlatform(written, platform, platformOfImage(image), stage.stage.location, this.lint);
	}

	/** A base for another platform decides what is built, when nothing was asked for. */
	private detectPlatform(image: Image, wanted: Platform): Platform {
		const { build } = this.platforms;
		if (wanted.os === image.os && wanted.architecture === image.architecture) return wanted;
		return build.os === image.os && build.architecture === image.architecture ? build : wanted;
	}

	private setBase(stage: StageState, platform: Platform): void {
		const { resolveMode, multiPlatform } = this.options.ui.config;
		stage.state = imageState(stage.baseName, {
			resolveMode,
			platform,
			name: stepName(stage, `FROM ${stage.baseName}`, multiPlatform ? platform : undefined, emptyEnv),
			description: { 'com.docker.dockerfile.v1.command': stage.stage.code },
			...located(this.options, stage.stage.location),
		});
		stage.platform = platform;
	}
}
