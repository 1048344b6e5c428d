// The rules a Dockerfile is checked by. Names, texts and pages are BuildKit's: people switch rules off by name.
import { quote } from '../text/format.js';

export interface Rule {
	readonly name: string;
	readonly description: string;
	readonly url: string;
	/** Off unless asked for. */
	readonly experimental?: boolean;
}

const page = (name: string): string => `https://docs.docker.com/go/dockerfile/rule/${name}/`;

function rule(name: string, path: string, description: string, experimental = false): Rule {
	return { name, description, url: path === '' ? '' : page(path), ...(experimental ? { experimental } : {}) };
}

export const rules = {
	stageNameCasing: rule('StageNameCasing', 'stage-name-casing', 'Stage names should be lowercase'),
	fromAsCasing: rule('FromAsCasing', 'from-as-casing', 'The \'as\' keyword should match the case of the \'from\' keyword'),
	noEmptyContinuation: rule('NoEmptyContinuation', 'no-empty-continuation', 'Empty continuation lines will become errors in a future release'),
	consistentInstructionCasing: rule('ConsistentInstructionCasing', 'consistent-instruction-casing',
		'All commands within the Dockerfile should use the same casing (either upper or lower)'),
	duplicateStageName: rule('DuplicateStageName', 'duplicate-stage-name', 'Stage names should be unique'),
	reservedStageName: rule('ReservedStageName', 'reserved-stage-name', 'Reserved words should not be used as stage names'),
	jsonArgsRecommended: rule('JSONArgsRecommended', 'json-args-recommended',
		'JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals'),
	maintainerDeprecated: rule('MaintainerDeprecated', 'maintainer-deprecated',
		'The MAINTAINER instruction is deprecated, use a label instead to define an image author'),
	undefinedArgInFrom: rule('UndefinedArgInFrom', 'undefined-arg-in-from', 'FROM command must use declared ARGs'),
	workdirRelativePath: rule('WorkdirRelativePath', 'workdir-relative-path',
		'Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes'),
	undefinedVar: rule('UndefinedVar', 'undefined-var', 'Variables should be defined before their use'),
	multipleInstructionsDisallowed: rule('MultipleInstructionsDisallowed', 'multiple-instructions-disallowed',
		'Multiple instructions of the same type should not be used in the same stage'),
	legacyKeyValueFormat: rule('LegacyKeyValueFormat', 'legacy-key-value-format', 'Legacy key/value format with whitespace separator should not be used'),
	invalidBaseImagePlatform: rule('InvalidBaseImagePlatform', '', 'Base image platform does not match expected target platform'),
	redundantTargetPlatform: rule('RedundantTargetPlatform', 'redundant-target-platform',
		'Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior'),
	secretsUsedInArgOrEnv: rule('SecretsUsedInArgOrEnv', 'secrets-used-in-arg-or-env', 'Sensitive data should not be used in the ARG or ENV commands'),
	invalidDefaultArgInFrom: rule('InvalidDefaultArgInFrom', 'invalid-default-arg-in-from',
		'Default value for global ARG results in an empty or invalid base image name'),
	fromPlatformFlagConstDisallowed: rule('FromPlatformFlagConstDisallowed', 'from-platform-flag-const-disallowed',
		'FROM --platform flag should not use a constant value'),
	copyIgnoredFile: rule('CopyIgnoredFile', 'copy-ignored-file', 'Attempting to Copy file that is excluded by .dockerignore'),
	invalidDefinitionDescription: rule('InvalidDefinitionDescription', 'invalid-definition-description',
		'Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment.', true),
	exposeProtoCasing: rule('ExposeProtoCasing', 'expose-proto-casing', 'Protocol in EXPOSE instruction should be lowercase'),
	exposeInvalidFormat: rule('ExposeInvalidFormat', 'expose-invalid-format',
		'IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release'),
} as const satisfies Record<string, Rule>;

/** What a warning of a rule says. */
export const texts = {
	stageNameCasing: (name: string) => `Stage name '${name}' should be lowercase`,
	fromAsCasing: (from: string, as: string) => `'${as}' and '${from}' keywords' casing do not match`,
	noEmptyContinuation: () => 'Empty continuation line',
	consistentInstructionCasing: (name: string, casing: string) => `Command '${name}' should match the case of the command majority (${casing})`,
	duplicateStageName: (name: string) => `Duplicate stage name ${quote(name)}, stage names should be unique`,
	reservedStageName: (name: string) => `Stage name should not use the same name as reserved stage ${quote(name)}`,
	jsonArgsRecommended: (name: string) => `JSON arguments recommended for ${name} to prevent unintended behavior related to OS signals`,
	maintainerDeprecated: () => 'Maintainer instruction is deprecated in favor of using label',
	undefinedArgInFrom: (arg: string, match: string | undefined) => `FROM argument '${arg}' is not declared${match ? ` (did you mean ${match}?)` : ''}`,
	workdirRelativePath: (path: string) => `Relative workdir ${quote(path)} can have unexpected results if the base image changes`,
	undefinedVar: (name: string, match: string | undefined) => `Usage of undefined variable '$${name}'${match ? ` (did you mean $${match}?)` : ''}`,
	multipleInstructionsDisallowed: (name: string) => `Multiple ${name} instructions should not be used in the same stage because only the last one will be used`,
	legacyKeyValueFormat: (name: string) => `"${name} key=value" should be used instead of legacy "${name} key value" format`,
	invalidBaseImagePlatform: (image: string, expected: string, actual: string) =>
		`Base image ${image} was pulled with platform ${quote(actual)}, expected ${quote(expected)} for current build`,
	redundantTargetPlatform: (variable: string) => `Setting platform to predefined ${variable} in FROM is redundant as this is the default behavior`,
	secretsUsedInArgOrEnv: (instruction: string, key: string) => `Do not use ARG or ENV instructions for sensitive data (${instruction} ${quote(key)})`,
	invalidDefaultArgInFrom: (base: string) => `Default value for ARG ${base} results in empty or invalid base image name`,
	fromPlatformFlagConstDisallowed: (platform: string) => `FROM --platform flag should not use constant value ${quote(platform)}`,
	copyIgnoredFile: (command: string, file: string) => `Attempting to ${command} file ${quote(file)} that is excluded by .dockerignore`,
	invalidDefinitionDescription: (instruction: string, name: string) => `Comment for ${instruction} should follow the format: \`# ${name} <description>\``,
	exposeProtoCasing: (port: string) => `Defined protocol '${port}' in EXPOSE instruction should be lowercase`,
	exposeInvalidFormat: (port: string) => `EXPOSE instruction should not define an IP address or host-port mapping, found '${port}'`,
} as const satisfies Record<keyof typeof rules, (...args: never[]) => string>;
