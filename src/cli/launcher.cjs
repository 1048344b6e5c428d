#!/usr/bin/env node
// Starts obd-build from its bundle with V8's code cache, which bundle.mjs made beside it: compiling the
// bundle anew would take a quarter of a fully cached build. Another version of Node refuses the cache and
// compiles.
const fs = require('node:fs');
const Module = require('node:module');
const path = require('node:path');
const vm = require('node:vm');

const file = path.join(__dirname, 'obd-build.main.cjs');

function readIfThere(name) {
	try {
		return fs.readFileSync(name);
	} catch {
		return undefined;
	}
}

const script = new vm.Script(Module.wrap(fs.readFileSync(file, 'utf8')), { filename: file, cachedData: readIfThere(`${file}.cache`) });
script.runInThisContext()(exports, require, module, file, __dirname);
module.exports = script;
