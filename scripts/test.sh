#!/bin/sh
# All tests but the kernel lane's. Lint and unit tests need processors, and the others often wait for a network: so both
# run side by side, the first at low priority, and what they say comes at the end. Run from the top of the checkout.
set -u
python=.venv/bin/python
ci="-p no:cacheprovider --timeout 120"
said=$(mktemp)
trap 'kill 0; rm -f "$said"; exit 130' INT TERM

# shellcheck disable=SC2086
(nice make --no-print-directory lint && nice $python -m pytest -q $ci tests/unit) >"$said" 2>&1 &
# shellcheck disable=SC2086
$python -m pytest $ci -n 3 --dist loadgroup --ignore=tests/kernel --ignore=tests/unit tests
networks=$?
wait $!
pure=$?
cat "$said"
rm -f "$said"
exit $((networks || pure))
