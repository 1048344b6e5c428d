// The stages of a Dockerfile while they are turned into LLB.
import type { Platform } from '../../src/llb/index.js';
import { State, scratch } from '../../src/llb/index.js';
import type { Location } from '../errors.js';
import type { Image } from '../image.js';
import { cloneImage } from '../image.js';
import type { ArgDefinition, Command, Stage } from '../instructions/types.js';
import type { NamedContext } from '../ui/named-context.js';
import { Outline } from './outline.js';

export interface StageCommand {
	readonly command: Command;
	/** Stages it copies or mounts from; for RUN one for each of its mounts. */
	readonly sources: readonly StageState[];
	readonly onbuild: boolean;
}

/** The image of a stage that is not known yet. */
function noImage(): Image {
	return { architecture: '', os: '', rootfs: { type: '', diff_ids: null }, history: [], config: {} };
}

export class StageState {
	/** File system and environment so far. */
	state: State = scratch();
	/** Image config so far. */
	image: Image = noImage();
	/** Config of the image at the bottom, as it was. */
	baseImage: Image | undefined;
	platform: Platform | undefined;
	/** The stage FROM names, when it names one. */
	base?: StageState;
	/** What --build-context has in place of this stage. */
	namedContext?: NamedContext;
	/** Shown in the names of its steps. */
	name: string;
	/** The base's name; canonical once resolved. */
	baseName: string;
	dispatched = false;
	/** Whether its base image was asked for. */
	resolved = false;
	onbuildInit = false;
	/** Stages it depends on besides its base, with the last command that does. */
	readonly deps = new Map<StageState, Command>();
	readonly buildArgs: ArgDefinition[] = [];
	commands: StageCommand[] = [];
	/** Paths it uses of the build context. */
	readonly contextPaths = new Set<string>();
	/** Paths others use of it, shared with its base. */
	paths = new Set<string>();
	ignoreCache = false;
	commandIndex = 0;
	commandTotal = 0;
	commandIsOnbuild = false;
	workdirSet = false;
	/** Where CMD, ENTRYPOINT and HEALTHCHECK were given last. */
	readonly last: { cmd?: Location; entrypoint?: Location; healthcheck?: Location } = {};
	outline: Outline;

	constructor(
		readonly stage: Stage,
		outline: Outline,
		/** An image named in COPY --from or RUN --mount that is no stage of the file. */
		readonly unregistered = false,
	) {
		this.name = stage.name;
		this.baseName = stage.baseName;
		this.outline = outline;
	}

	/** Takes over what the base is so far. */
	inherit(): void {
		const { base } = this;
		if (!base) return;
		this.state = base.state;
		this.platform = base.platform;
		this.image = cloneImage(base.image);
		// Triggers are run where the base is used, and do not carry over.
		delete this.image.config.OnBuild;
		this.baseImage = base.baseImage;
		this.paths = base.paths;
		this.workdirSet = base.workdirSet;
		this.buildArgs.push(...base.buildArgs);
	}
}

/** A stage made up for an image that is only copied or mounted from. */
export function imageStage(baseName: string, location: Location): StageState {
	const stage: Stage = {
		name: '', fromName: '', baseName, platform: '', code: '', location, comments: [], docComment: '', commands: [],
	};
	return new StageState(stage, new Outline(), true);
}

/** All stages, in the order they are known. */
export class Stages {
	readonly all: StageState[] = [];
	private readonly byName = new Map<string, StageState>();

	add(stage: StageState): void {
		this.all.push(stage);
		const base = this.byName.get(stage.baseName);
		if (base) {
			stage.base = base;
			stage.outline = base.outline.clone();
		}
		if (stage.stage.name !== '') this.byName.set(stage.stage.name.toLowerCase(), stage);
	}

	find(name: string): StageState | undefined {
		return this.byName.get(name.toLowerCase());
	}

	/** @throws Error when there is no such stage. */
	at(index: number): StageState {
		const stage = index < 0 ? undefined : this.all[index];
		if (!stage) throw new Error(`invalid stage index ${index}`);
		return stage;
	}

	names(): string[] {
		return this.all.map((stage) => stage.name).filter((name) => name !== '');
	}
}

/** A stage and all it needs. */
export function reachableFrom(target: StageState): Set<StageState> {
	const reachable = new Set<StageState>([target]);
	for (const stage of reachable) {
		if (stage.base) reachable.add(stage.base);
		for (const dep of stage.deps.keys()) reachable.add(dep);
	}
	return reachable;
}
