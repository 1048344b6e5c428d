// Whether a result is for the platforms that were asked for. Where it is not, the build goes on with a warning.
import { defaultPlatform, formatPlatformAll, normalizePlatform, parsePlatform, type Platform } from '../image/index.js';

/** @param requested the `platform` attribute @param results platforms of the result @param isMap whether it is one of several */
export function platformWarnings(requested: string | undefined, results: readonly Platform[], isMap: boolean): string[] {
	const wanted = requested === undefined ? [formatPlatformAll(defaultPlatform())] : requested.split(',');
	const parsed: Platform[] = [];
	const warnings: string[] = [];
	for (const one of wanted) {
		try {
			const platform = normalizePlatform(parsePlatform(one));
			if (parsed.some((other) => formatPlatformAll(other) === formatPlatformAll(platform))) warnings.push(`Duplicate platform result requested ${JSON.stringify(one)}`);
			parsed.push(platform);
		} catch (error) {
			warnings.push(`Invalid platform result requested ${JSON.stringify(one)}: ${(error as Error).message}`);
		}
	}
	if (warnings.length > 0) return warnings;
	const [first] = parsed;
	const [only] = results;
	if (first && only && parsed.length === 1 && results.length === 1) {
		return matches(first, only) ? [] : [`Requested platform ${JSON.stringify(wanted[0])} does not match result platform ${JSON.stringify(formatPlatformAll(normalizePlatform(only)))}`];
	}
	if (!isMap && parsed.length > 1) return ['Multiple platforms requested but result is not multi-platform'];
	const isSame = parsed.length === results.length && results.every((result) => list(parsed).split(',').includes(formatPlatformAll(normalizePlatform(result))));
	return isSame ? [] : [`Requested platforms ${list(parsed)} do not match result platforms ${list(results)}`];
}

/** Who asks for no version of the system gets any. */
function matches(wanted: Platform, result: Platform): boolean {
	const { osVersion, ...rest } = normalizePlatform(result);
	const version = wanted.osVersion === undefined || osVersion === undefined ? {} : { osVersion };
	return formatPlatformAll(wanted) === formatPlatformAll({ ...rest, ...version });
}

function list(platforms: readonly Platform[]): string {
	return platforms.map((platform) => formatPlatformAll(normalizePlatform(platform))).sort().join(',');
}
