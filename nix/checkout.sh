# Sourced by the developers' shell: Python takes `harness` from the checkout, from wherever in it.
_checkout=$PWD
while [ ! -e "$_checkout/harness/__main__.py" ] && [ "$_checkout" != / ]; do
  _checkout=$(dirname "$_checkout")
done
if [ "$_checkout" = / ]; then
  unset PYTHONPATH
  echo "This is no checkout of rwkv-harness: change into one and start the shell again." >&2
else
  export PYTHONPATH=$_checkout
fi
unset PYTHONHOME _checkout
