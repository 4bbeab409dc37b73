"""Django in one file: a view that sells over the HTTP gateway. Django answers in threads; they share one client.

hotsku serve
GATEWAY=http://127.0.0.1:8000 python examples/django_view/shop.py runserver 8001

curl -d 'order_id=o-1&buyer_id=u-7' http://127.0.0.1:8001/items/sneaker-42/buy
"""

import os
import sys
from functools import cache

from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

import hotsku
from hotsku.client import BlockingClient

GATEWAY = os.environ.get("GATEWAY", "http://127.0.0.1:8000")
PATIENCE_S = 5.0

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("SECRET_KEY", "for this machine alone"),
)


@cache
def stock() -> BlockingClient:
    """The process's client: made when it is first used, so that a process that forks before has its own."""
    return BlockingClient(GATEWAY, api_key=os.environ.get("GATEWAY_KEY"), budget_s=PATIENCE_S)


@csrf_exempt  # a form of your own has a token
@require_POST
def buy(request: HttpRequest, sku: str) -> HttpResponse:
    """Sell one unit. The order's id is in the form that was shown, so that a second click is the same order."""
    order_id, buyer_id = request.POST.get("order_id", ""), request.POST.get("buyer_id", "")
    try:
        sold = stock().deduct(sku, 1, order_id=order_id, buyer_id=buyer_id)
    except hotsku.InvalidRequest as error:
        return JsonResponse({"detail": str(error)}, status=400)
    except hotsku.UnknownItem as error:
        return JsonResponse({"detail": str(error)}, status=404)
    except hotsku.IdempotencyConflict as error:  # the order is there with other content: no repetition changes that
        return JsonResponse({"detail": str(error)}, status=422)
    except hotsku.HotSKUError:  # nobody knows, or not now: the page sends the same form again
        return JsonResponse({"outcome": "pending"}, status=503, headers={"Retry-After": "1"})
    answer = {"outcome": sold.outcome, "replayed": sold.replayed, "available": sold.available}
    return JsonResponse(answer, status=409 if sold.state is None else 200)


urlpatterns = [path("items/<str:sku>/buy", buy)]
application = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
