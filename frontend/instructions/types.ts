// The instructions of a Dockerfile, understood but not expanded.
import type { Location } from '../errors.js';

interface Base {
	/** As written: `RUN`, `run`. */
	readonly name: string;
	/** The whole logical line. */
	readonly code: string;
	readonly location: Location;
	readonly comments: readonly string[];
}

export interface KeyValue {
	readonly key: string;
	readonly value: string;
	/** The old form, `KEY value`. */
	readonly legacy: boolean;
}

export interface ArgDefinition {
	readonly key: string;
	readonly value?: string;
	/** From a comment `# key text` above. */
	readonly docComment: string;
}

/** A file written in the Dockerfile itself. */
export interface InlineFile {
	readonly name: string;
	readonly content: string;
	readonly expand: boolean;
	readonly chomp: boolean;
}

/** A command line, possibly for a shell. */
export interface CommandLine {
	readonly args: readonly string[];
	readonly files: readonly InlineFile[];
	/** Shell form. */
	readonly shell: boolean;
}

export interface CopyParams {
	readonly sources: readonly string[];
	readonly inline: readonly InlineFile[];
	readonly dest: string;
	readonly chown: string;
	readonly chmod: string;
	readonly link: boolean;
	readonly exclude: readonly string[];
}

/** What a HEALTHCHECK says; durations in nanoseconds, 0 to inherit. */
export interface Healthcheck {
	readonly test: readonly string[];
	readonly interval: number;
	readonly timeout: number;
	readonly startPeriod: number;
	readonly startInterval: number;
	readonly retries: number;
}

export interface RunFlags {
	/** Values of --mount, read again once variables are known. */
	readonly mounts: readonly string[];
	readonly network: 'default' | 'none' | 'host';
	readonly security: 'sandbox' | 'insecure';
	readonly devices: readonly { readonly name: string; readonly required: boolean }[];
}

export interface AddCommand extends Base, CopyParams {
	readonly kind: 'add';
	readonly keepGitDir?: boolean;
	readonly checksum: string;
	readonly unpack?: boolean;
}
export interface ArgCommand extends Base { readonly kind: 'arg'; readonly args: readonly ArgDefinition[] }
export interface CmdCommand extends Base, CommandLine { readonly kind: 'cmd' }
export interface CopyCommand extends Base, CopyParams { readonly kind: 'copy'; readonly from: string; readonly parents: boolean }
export interface EntrypointCommand extends Base, CommandLine { readonly kind: 'entrypoint' }
export interface EnvCommand extends Base { readonly kind: 'env'; readonly env: readonly KeyValue[] }
export interface ExposeCommand extends Base { readonly kind: 'expose'; readonly ports: readonly string[] }
export interface HealthcheckCommand extends Base { readonly kind: 'healthcheck'; readonly health: Healthcheck }
export interface LabelCommand extends Base { readonly kind: 'label'; readonly labels: readonly KeyValue[] }
export interface MaintainerCommand extends Base { readonly kind: 'maintainer'; readonly maintainer: string }
export interface OnbuildCommand extends Base { readonly kind: 'onbuild'; readonly expression: string }
export interface RunCommand extends Base, CommandLine, RunFlags { readonly kind: 'run' }
export interface ShellCommand extends Base { readonly kind: 'shell'; readonly shell: readonly string[] }
export interface StopsignalCommand extends Base { readonly kind: 'stopsignal'; readonly signal: string }
export interface UserCommand extends Base { readonly kind: 'user'; readonly user: string }
export interface VolumeCommand extends Base { readonly kind: 'volume'; readonly volumes: readonly string[] }
export interface WorkdirCommand extends Base { readonly kind: 'workdir'; readonly path: string }

export type Command = AddCommand | ArgCommand | CmdCommand | CopyCommand | EntrypointCommand | EnvCommand | ExposeCommand
	| HealthcheckCommand | LabelCommand | MaintainerCommand | OnbuildCommand | RunCommand | ShellCommand | StopsignalCommand
	| UserCommand | VolumeCommand | WorkdirCommand;

/** A FROM and all that follows it. */
export interface Stage {
	readonly name: string;
	/** As written: `FROM`. */
	readonly fromName: string;
	readonly baseName: string;
	readonly platform: string;
	readonly code: string;
	readonly location: Location;
	readonly comments: readonly string[];
	readonly docComment: string;
	readonly commands: readonly Command[];
}

export interface Instructions {
	readonly stages: readonly Stage[];
	/** ARGs before the first FROM. */
	readonly metaArgs: readonly ArgCommand[];
}
