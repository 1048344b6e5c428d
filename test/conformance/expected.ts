// `expected.json`: what BuildKit made of a case, its root file system as a difference to the base image's.
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { casesDirectory } from './case.js';
import type { Outcome } from './outcome.js';
import type { RootFs } from './root-fs.js';

interface Written extends Outcome {
	/** What recorded it. */
	readonly reference: string;
	readonly rootfs_base?: 'busybox' | 'scratch';
	readonly rootfs_deleted?: readonly string[];
}

const file = (name: string): string => path.join(casesDirectory, name, 'expected.json');

export function readExpected(name: string, base: RootFs): Outcome {
	const { reference: _reference, rootfs_base, rootfs_deleted = [], rootfs, ...expected } = JSON.parse(readFileSync(file(name), 'utf8')) as Written;
	if (rootfs === undefined) return expected;
	const files = rootfs_base === 'busybox' ? baseOf(base, rootfs) : {};
	const below = Object.entries(files).filter(([name]) => !rootfs_deleted.includes(name));
	return { ...expected, rootfs: { ...Object.fromEntries(below), ...rootfs } };
}

export function writeExpected(name: string, { rootfs, ...outcome }: Outcome, base: RootFs, reference: string): void {
	const difference = rootfs === undefined ? {} : smallest(['scratch', 'busybox'].map((from) => differenceOf(rootfs, from === 'scratch' ? {} : baseOf(base, rootfs), from)));
	writeFileSync(file(name), `${format({ reference, ...outcome, ...difference })}\n`);
}

/** The base's files, with modification times only when those of the image have them. */
function baseOf(base: RootFs, rootfs: RootFs): RootFs {
	if (Object.values(rootfs).some(({ mtime }) => mtime !== undefined)) return base;
	return Object.fromEntries(Object.entries(base).map(([name, { mtime: _mtime, ...entry }]) => [name, entry]));
}

type Difference = Pick<Written, 'rootfs' | 'rootfs_deleted'>;

function differenceOf(rootfs: RootFs, base: RootFs, from: string): Difference {
	const isBase = (name: string): boolean => differencesOf(base[name], rootfs[name]).length === 0;
	return {
		...{ rootfs_base: from },
		rootfs_deleted: Object.keys(base).filter((name) => !(name in rootfs)),
		rootfs: Object.fromEntries(Object.entries(rootfs).filter(([name]) => !isBase(name))),
	};
}

function smallest(differences: readonly Difference[]): Difference {
	const size = ({ rootfs = {}, rootfs_deleted = [] }: Difference): number => Object.keys(rootfs).length + rootfs_deleted.length;
	return differences.reduce((a, b) => (size(b) < size(a) ? b : a));
}

/** JSON with a line for each member of what is big: config, history, files. */
function format(value: Readonly<Record<string, unknown>>): string {
	const lines = (object: object, indent: string): string => {
		const members = Object.entries(object).map(([key, one]) => `${indent}${Array.isArray(object) ? '' : `${JSON.stringify(key)}: `}${JSON.stringify(one)}`);
		const [open, close] = Array.isArray(object) ? ['[', ']'] : ['{', '}'];
		return members.length === 0 ? `${open}${close}` : `${open}\n${members.join(',\n')}\n${indent.slice(1)}${close}`;
	};
	const members = Object.entries(value).filter(([, one]) => one !== undefined).map(([key, one]) => {
		const spread = ['config', 'rootfs', 'warnings'].includes(key) && typeof one === 'object' && one !== null;
		return ` ${JSON.stringify(key)}: ${spread ? lines(one, '  ') : JSON.stringify(one)}`;
	});
	return `{\n${members.join(',\n')}\n}`;
}

/** How two outcomes differ, in words; of one that failed and one that did not, just that. */
export function compareOutcomes(expected: Outcome, actual: Outcome): string[] {
	if (expected.status === actual.status) return differencesOf(expected, actual);
	return [`status: expected ${expected.status}, got ${actual.status}: ${actual.error ?? `should be ${expected.error ?? ''}`}`];
}

/** Each difference in words; empty when they are the same. */
function differencesOf(expected: unknown, actual: unknown, where = ''): string[] {
	const isObject = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === 'object' && value !== null;
	if (isObject(expected) && isObject(actual)) {
		const keys = [...new Set([...Object.keys(expected), ...Object.keys(actual)])].sort();
		return keys.flatMap((key) => differencesOf(expected[key], actual[key], where === '' ? key : `${where} ${key}`));
	}
	return expected === actual ? [] : [`${where}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`];
}
